// A whole model's forward pass of one item, and the scores of all items, from weights in panels. Compiled once per
// instruction set, with RECBLR_ISA its namespace.
#include "model_kernels.h"

#include <math.h>
#include <string.h>

#include "cpu_kernels.h"
#include "vector.h"

#define RECBLR_SCALAR_NAMESPACE RECBLR_ISA
#include "scalar_math.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

constexpr int kVectors = 4;  // of a panel: as many sums as hide the latency of one
constexpr int64_t kPanel = kVectors * kLanes;
// Queries that share a reading of the items; their sums and the items must fit the registers.
constexpr int kSharing = kLanes == 16 ? 4 : 2;
static_assert(kSharing <= kMostScoredRows);

inline int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }
inline int64_t padded(int64_t n) { return panels_of(n) * kPanel; }

// y = bias + W x, in whole panels; no bias where it is NULL.
inline void multiply(const float* matrix, const float* bias, const float* x, int64_t inputs, int64_t outputs,
                     float* y) {
  for (int64_t panel = 0; panel < panels_of(outputs); ++panel, y += kPanel) {
    Vector sums[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[v] = bias == nullptr ? zero() : load_vector(bias + panel * kPanel + v * kLanes);
    }
    for (int64_t i = 0; i < inputs; ++i, matrix += kPanel) {
      const Vector value = broadcast(x[i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[v] = multiply_add(value, load_vector(matrix + v * kLanes), sums[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_vector(y + v * kLanes, sums[v]);
  }
}

inline float sum_of(const float* values, int64_t count) {
  constexpr int64_t kSums = 16;
  float sums[kSums] = {};
  const int64_t whole = count / kSums * kSums;
  for (int64_t c = 0; c < whole; c += kSums) {
    for (int64_t lane = 0; lane < kSums; ++lane) sums[lane] += values[c + lane];
  }
  for (int64_t c = whole; c < count; ++c) sums[c - whole] += values[c];
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

// In place; `squares` is scratch of `count`.
inline void layer_norm(float* x, int64_t count, float epsilon, const float* weight, const float* bias, float* squares) {
  const float mean = sum_of(x, count) / static_cast<float>(count);
  for (int64_t c = 0; c < count; ++c) {
    x[c] -= mean;
    squares[c] = x[c] * x[c];
  }
  const float scale = 1.0f / sqrtf(sum_of(squares, count) / static_cast<float>(count) + epsilon);
  for (int64_t c = 0; c < count; ++c) x[c] = x[c] * scale * weight[c] + bias[c];
}

inline float silu(float x) { return x * sigmoid(x); }

// The convolution at one input u [H], in place, and its tail [K-1, H] moved on.
inline void convolve(const PackedLayer& layer, int64_t width, int64_t taps, float* tail, float* u) {
  const int64_t past = taps - 1;
  for (int64_t c = 0; c < width; ++c) {
    float sum = layer.conv_bias[c];
    for (int64_t tap = 0; tap < past; ++tap) sum += layer.conv_weight[tap * width + c] * tail[tap * width + c];
    sum += layer.conv_weight[past * width + c] * u[c];
    for (int64_t tap = 0; tap + 1 < past; ++tap) tail[tap * width + c] = tail[(tap + 1) * width + c];
    if (past > 0) tail[(past - 1) * width + c] = u[c];
    u[c] = silu(sum);
  }
}

void advance(const PackedModel& m, int32_t item, bool last, float* state, float* scratch) {
  float* x = scratch;  // [D], as the next
  float* branch = x + padded(m.dim);
  float* u = branch + padded(m.dim);  // [H], as the next
  float* z = u + padded(m.width);
  float* gates = z + padded(m.width);          // [2H]
  float* inner = gates + padded(2 * m.width);  // [F]
  const int64_t width = m.width, bytes = m.dim * static_cast<int64_t>(sizeof(float));
  memcpy(x, static_cast<const unsigned char*>(m.embedding) + item * bytes, static_cast<size_t>(bytes));
  layer_norm(x, m.dim, m.norm_epsilon, m.norm_weight, m.norm_bias, branch);
  for (int64_t l = 0; l < m.n_layers; ++l) {
    const PackedLayer& layer = m.layers[l];
    float* tail = state;
    float* h = tail + (m.taps - 1) * width;
    state = h + width;
    multiply(layer.in_x, nullptr, x, m.dim, width, u);
    convolve(layer, width, m.taps, tail, u);
    multiply(layer.gates, layer.gates_bias, u, width, 2 * width, gates);
    for (int64_t c = 0; c < width; ++c) {
      const float log_alpha = -layer.rate[c] * sigmoid(gates[c]);
      const float norm = sqrtf(one_minus_exp(2.0f * log_alpha) + kSqrtEpsilon);
      h[c] = exp_approximate(log_alpha) * h[c] + norm * sigmoid(gates[width + c]) * u[c];
    }
    if (l + 1 == m.n_layers && !last) return;  // of the last layer, only the last item's output is used
    multiply(layer.in_z, nullptr, x, m.dim, width, z);
    for (int64_t c = 0; c < width; ++c) z[c] = silu(z[c]) * h[c];
    multiply(layer.out, nullptr, z, width, m.dim, branch);
    for (int64_t c = 0; c < m.dim; ++c) x[c] += branch[c];
    layer_norm(x, m.dim, m.norm_epsilon, layer.recurrent_norm_weight, layer.recurrent_norm_bias, branch);
    multiply(layer.up, layer.up_bias, x, m.dim, m.feed_forward, inner);
    for (int64_t c = 0; c < m.feed_forward; ++c) inner[c] = silu(inner[c]);
    multiply(layer.down, layer.down_bias, inner, m.feed_forward, m.dim, branch);
    for (int64_t c = 0; c < m.dim; ++c) x[c] += branch[c];
    layer_norm(x, m.dim, m.norm_epsilon, layer.feed_forward_norm_weight, layer.feed_forward_norm_bias, branch);
  }
  memcpy(state, x, static_cast<size_t>(bytes));
}

int64_t scratch_floats(const PackedModel& m) {
  return 2 * padded(m.dim) + 2 * padded(m.width) + padded(2 * m.width) + padded(m.feed_forward);
}

template <int kRows>
void score_rows(const PackedModel& m, const float* queries, int64_t stride, float* scores, int64_t scores_stride) {
  const float* items = m.items;
  for (int64_t panel = 0; panel < panels_of(m.n_items); ++panel) {
    Vector sums[kRows][kVectors];
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[row][v] = zero();
    }
    for (int64_t d = 0; d < m.dim; ++d, items += kPanel) {
      Vector item[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) item[v] = load_vector(items + v * kLanes);
#pragma GCC unroll 4
      for (int row = 0; row < kRows; ++row) {
        const Vector query = broadcast(queries[row * stride + d]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[row][v] = multiply_add(query, item[v], sums[row][v]);
      }
    }
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        store_vector(scores + row * scores_stride + panel * kPanel + v * kLanes, sums[row][v]);
      }
    }
  }
}

void score(const PackedModel& m, const float* queries, int64_t stride, int64_t n_rows, float* scores,
           int64_t scores_stride) {
  int64_t row = 0;
  for (; row + kSharing <= n_rows; row += kSharing) {
    score_rows<kSharing>(m, queries + row * stride, stride, scores + row * scores_stride, scores_stride);
  }
  for (; row < n_rows; ++row) score_rows<1>(m, queries + row * stride, stride, scores + row * scores_stride, 0);
}

int64_t find_above(const float* scores, int64_t count, float threshold, int32_t* found) {
  const Vector limit = broadcast(threshold);
  int64_t n_found = 0;
  for (int64_t at = 0; at < count; at += kLanes) {
    for (unsigned left = above(load_vector(scores + at), limit); left != 0; left &= left - 1) {
      found[n_found++] = static_cast<int32_t>(at) + __builtin_ctz(left);
    }
  }
  return n_found;
}

}  // namespace

ModelKernels model_kernels() { return {kPanel, advance, scratch_floats, score, find_above}; }

}  // namespace RECBLR_ISA
}  // namespace recblr
