// TensorRT's plugin interface: our declarations, or NVIDIA's headers in a build with TENSORRT_ROOT.
#pragma once

#if defined(RECBLR_TENSORRT_HEADERS)
#include <NvInferRuntime.h>
#else
#include "tensorrt/nvinfer_abi.h"
#endif
