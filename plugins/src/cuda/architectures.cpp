#include "recblr/plugins.h"

extern "C" const char* recblr_cuda_architectures(void) { return RECBLR_CUDA_ARCHITECTURES; }
