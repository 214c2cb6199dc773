// What one instruction set offers for the ops along the sequence and for training.
#pragma once

#include <cstdint>

#include "recblr/plugins.h"

namespace recblr {

constexpr int64_t kDropoutChunk = 16384;  // elements of a unit of dropout, which share a key

// Functions for one data type. A unit is one row and channels `first` to `first + count - 1`.
struct Kernels {
  int64_t block;  // channels of a unit, at most
  void (*scan_forward)(const recblr_gated_scan&, int64_t row, int64_t first, int64_t count);
  // grad_rate: [B, H], of which the unit writes its part: the gradient of softplus(decay), to be summed over the rows.
  void (*scan_backward)(const recblr_gated_scan&, int64_t row, int64_t first, int64_t count, float* grad_rate);
  // weight: [K, H]. scratch: [K, block].
  void (*conv_forward)(const recblr_causal_conv1d&, int64_t row, int64_t first, int64_t count, const float* weight,
                       float* scratch);
  // weight: [K, H]. scratch: [3, K, block]. grad_weight: [B, K, H] and grad_bias: [B, H], of which the unit writes its
  // part, to be summed over the rows.
  void (*conv_backward)(const recblr_causal_conv1d&, int64_t row, int64_t first, int64_t count, const float* weight,
                        float* scratch, float* grad_weight, float* grad_bias);
  // Of elements chunk * kDropoutChunk and on.
  void (*dropout)(const recblr_dropout&, int64_t chunk);
  // The row's loss and, unless keep_logits, its gradient.
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

// Those of instruction_set(), which throws, for a type of data arrays.
Kernels best_kernels(int32_t dtype);

}  // namespace recblr
