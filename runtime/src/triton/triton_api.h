// Triton's backend API, as far as it is used here.
#pragma once

#include "triton/triton_types.h"

#include "triton/triton_functions.h"
