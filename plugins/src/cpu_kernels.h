// What one instruction set's kernels offer to the dispatcher.
#pragma once

#include <cstdint>

#include "instruction_set.h"
#include "recblr/plugins.h"

namespace recblr {

constexpr float kSqrtEpsilon = 1e-8f;
constexpr int64_t kDropoutChunk = 16384;  // elements of a unit of dropout

// Functions for one data type; see cpu_kernels.inc.
struct Kernels {
  int64_t block;  // channels of a unit, at most
  void (*scan_forward)(const recblr_gated_scan&, int64_t row, int64_t first, int64_t count);
  void (*scan_backward)(const recblr_gated_scan&, int64_t row, int64_t first, int64_t count, float* grad_rate);
  // weight: [K, H], the same for the next two. scratch: K blocks; 3 K blocks for the next.
  void (*conv_forward)(const recblr_causal_conv1d&, int64_t row, int64_t first, int64_t count, const float* weight,
                       float* scratch);
  void (*conv_backward)(const recblr_causal_conv1d&, int64_t row, int64_t first, int64_t count, const float* weight,
                        float* scratch, float* grad_weight, float* grad_bias);
  void (*dropout)(const recblr_dropout&, int64_t chunk);
  void (*cross_entropy)(const recblr_cross_entropy&, int64_t row);
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

// Those of instruction_set(). Returns false if it is unknown.
bool best_kernels(int32_t dtype, Kernels* kernels);

}  // namespace recblr
