// What one instruction set's kernels offer to the dispatcher.
#pragma once

#include <cstdint>

#include "recblr/plugins.h"

namespace recblr {

constexpr float kSqrtEpsilon = 1e-8f;

// Functions for one data type; see cpu_kernels.inc.
struct Kernels {
  int64_t block;  // channels of a unit, at most
  void (*scan_forward)(const recblr_gated_scan&, int64_t row, int64_t first, int64_t count);
  void (*scan_backward)(const recblr_gated_scan&, int64_t row, int64_t first, int64_t count, float* grad_rate);
  void (*conv_forward)(const recblr_causal_conv1d&, int64_t row, int64_t first, int64_t count, float* scratch);
  void (*conv_backward)(const recblr_causal_conv1d&, int64_t row, int64_t first, int64_t count, float* scratch,
                        float* grad_weight, float* grad_bias);
};

namespace baseline {
Kernels kernels(int32_t dtype);
}
namespace avx2 {
Kernels kernels(int32_t dtype);
}
namespace avx512 {
Kernels kernels(int32_t dtype);
}

}  // namespace recblr
