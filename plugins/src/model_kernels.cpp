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
// Rows that share a reading of a matrix; their sums and its vectors must fit the registers.
constexpr int kSharing = kLanes == 16 ? 4 : 2;
// Items of a row that pass through a layer together: their activations stay in the second nearest cache at most.
constexpr int64_t kBlock = 16;

inline int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }
inline int64_t padded(int64_t n) { return panels_of(n) * kPanel; }

// One panel's outputs for kRows inputs, each `x_stride` and `y_stride` after the other.
template <int kRows>
inline void multiply_panel(const float* matrix, const float* bias, const float* x, int64_t x_stride, int64_t inputs,
                           float* y, int64_t y_stride) {
  Vector sums[kRows][kVectors];
#pragma GCC unroll 4
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[row][v] = bias == nullptr ? zero() : load_vector(bias + v * kLanes);
  }
  for (int64_t i = 0; i < inputs; ++i, matrix += kPanel) {
    Vector weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = load_vector(matrix + v * kLanes);
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
      const Vector value = broadcast(x[row * x_stride + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[row][v] = multiply_add(value, weights[v], sums[row][v]);
    }
  }
#pragma GCC unroll 4
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_vector(y + row * y_stride + v * kLanes, sums[row][v]);
  }
}

// y = bias + W x for each of `n_rows` x, in whole panels; no bias where it is NULL. A panel stays in the nearest cache
// while all rows pass, and each output is summed in the same order whatever passes beside it.
void multiply(const float* matrix, const float* bias, const float* x, int64_t x_stride, int64_t n_rows, int64_t inputs,
              int64_t outputs, float* y, int64_t y_stride) {
  for (int64_t panel = 0; panel < panels_of(outputs); ++panel, matrix += inputs * kPanel, y += kPanel) {
    const float* of_panel = bias == nullptr ? nullptr : bias + panel * kPanel;
    int64_t row = 0;
    for (; row + kSharing <= n_rows; row += kSharing) {
      multiply_panel<kSharing>(matrix, of_panel, x + row * x_stride, x_stride, inputs, y + row * y_stride, y_stride);
    }
    for (; row < n_rows; ++row) {
      multiply_panel<1>(matrix, of_panel, x + row * x_stride, 0, inputs, y + row * y_stride, 0);
    }
  }
}

inline float sum_of(const float* values, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  Vector sum = zero();
  for (int64_t c = 0; c < whole; c += kLanes) sum = add(sum, load_vector(values + c));
  float total = sum_of_lanes(sum);
  for (int64_t c = whole; c < count; ++c) total += values[c];
  return total;
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

// The convolution: `n_out` outputs [H] from as many inputs [H] behind their K-1 predecessors, all `stride` apart.
inline void convolve(const PackedLayer& layer, int64_t width, int64_t taps, int64_t stride, const float* inputs,
                     int64_t n_out, float* outputs) {
  for (int64_t t = 0; t < n_out; ++t, inputs += stride, outputs += stride) {
    for (int64_t c = 0; c < width; ++c) outputs[c] = layer.conv_bias[c];
    for (int64_t tap = 0; tap < taps; ++tap) {
      const float* weight = layer.conv_weight + tap * width;
      const float* input = inputs + tap * stride;
      for (int64_t c = 0; c < width; ++c) outputs[c] += weight[c] * input[c];
    }
    for (int64_t c = 0; c < width; ++c) outputs[c] = silu(outputs[c]);
  }
}

inline void copy(const float* from, int64_t count, float* to) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

// The recurrence at one input u [H] with its gates [2H]; the new state is in h, and takes the place of u.
inline void recur(const PackedLayer& layer, int64_t width, const float* gates, float* h, float* u) {
  for (int64_t c = 0; c < width; ++c) {
    // Both sigmoids by one division; where the product overflows they are 0.
    const float one_over_r = 1.0f + exp_approximate(-gates[c]);
    const float one_over_i = 1.0f + exp_approximate(-gates[width + c]);
    const float both = 1.0f / (one_over_r * one_over_i);
    const float log_alpha = -layer.rate[c] * (both * one_over_i);
    const float alpha = exp_approximate(log_alpha);
    const float beta = sqrtf(one_minus_square(alpha, 2.0f * log_alpha) + kSqrtEpsilon);
    h[c] = alpha * h[c] + beta * (both * one_over_r) * u[c];
    u[c] = h[c];
  }
}

// Adds a branch to x [D] and normalises; the branch's memory is used.
inline void add_and_normalise(float* x, float* branch, int64_t dim, float epsilon, const float* weight,
                              const float* bias) {
  for (int64_t c = 0; c < dim; ++c) x[c] += branch[c];
  layer_norm(x, dim, epsilon, weight, bias, branch);
}

// `count` of at most `block` items; the state's query vector is replaced only where the row's last item is among them.
void advance_block(const PackedModel& m, const int32_t* items, int64_t count, int64_t block, bool has_last,
                   float* state, float* scratch) {
  const int64_t dim = m.dim, width = m.width, bytes = dim * static_cast<int64_t>(sizeof(float));
  const int64_t dim_stride = padded(dim), width_stride = padded(width), inner_stride = padded(m.feed_forward);
  const int64_t gates_stride = padded(2 * width), past = m.taps - 1;
  float* const x = scratch;  // [block, D], as the next
  float* const branch = x + block * dim_stride;
  float* const u = branch + block * dim_stride;  // [block, H], as the next
  float* const z = u + block * width_stride;
  float* const gates = z + block * width_stride;       // [block, 2H]
  float* const inner = gates + block * gates_stride;   // [block, F]
  float* const inputs = inner + block * inner_stride;  // [K-1 + block, H], the tail first
  float* const new_inputs = inputs + past * width_stride;
  for (int64_t t = 0; t < count; ++t) {
    float* const to = x + t * dim_stride;
    memcpy(to, static_cast<const unsigned char*>(m.embedding) + items[t] * bytes, static_cast<size_t>(bytes));
    layer_norm(to, dim, m.norm_epsilon, m.norm_weight, m.norm_bias, branch);
  }
  for (int64_t l = 0; l < m.n_layers; ++l) {
    const PackedLayer& layer = m.layers[l];
    float* const tail = state;
    float* const h = tail + past * width;
    state = h + width;
    for (int64_t t = 0; t < past; ++t) copy(tail + t * width, width, inputs + t * width_stride);
    multiply(layer.in_x, nullptr, x, dim_stride, count, dim, width, new_inputs, width_stride);
    convolve(layer, width, m.taps, width_stride, inputs, count, u);
    for (int64_t t = 0; t < past; ++t) copy(inputs + (count + t) * width_stride, width, tail + t * width);
    multiply(layer.gates, layer.gates_bias, u, width_stride, count, width, 2 * width, gates, gates_stride);
    for (int64_t t = 0; t < count; ++t) recur(layer, width, gates + t * gates_stride, h, u + t * width_stride);
    const bool is_last_layer = l + 1 == m.n_layers;
    if (is_last_layer && !has_last) return;
    // Of the last layer, only the last item's output is used.
    const int64_t from = is_last_layer ? count - 1 : 0, n_rows = count - from;
    float* const residual = x + from * dim_stride;
    float* const h_of_rows = u + from * width_stride;
    multiply(layer.in_z, nullptr, residual, dim_stride, n_rows, dim, width, z, width_stride);
    for (int64_t at = 0; at < n_rows * width_stride; ++at) z[at] = silu(z[at]) * h_of_rows[at];
    multiply(layer.out, nullptr, z, width_stride, n_rows, width, dim, branch, dim_stride);
    for (int64_t t = 0; t < n_rows; ++t) {
      add_and_normalise(residual + t * dim_stride, branch + t * dim_stride, dim, m.norm_epsilon,
                        layer.recurrent_norm_weight, layer.recurrent_norm_bias);
    }
    multiply(layer.up, layer.up_bias, residual, dim_stride, n_rows, dim, m.feed_forward, inner, inner_stride);
    for (int64_t at = 0; at < n_rows * inner_stride; ++at) inner[at] = silu(inner[at]);
    multiply(layer.down, layer.down_bias, inner, inner_stride, n_rows, m.feed_forward, dim, branch, dim_stride);
    for (int64_t t = 0; t < n_rows; ++t) {
      add_and_normalise(residual + t * dim_stride, branch + t * dim_stride, dim, m.norm_epsilon,
                        layer.feed_forward_norm_weight, layer.feed_forward_norm_bias);
    }
  }
  memcpy(state, x + (count - 1) * dim_stride, static_cast<size_t>(bytes));
}

inline int64_t block_of(int64_t count) { return count < kBlock ? count : kBlock; }

void advance(const PackedModel& m, const int32_t* items, int64_t count, float* state, float* scratch) {
  const int64_t block = block_of(count);
  for (int64_t left = count; left > 0; left -= block, items += block) {
    advance_block(m, items, block_of(left), block, left <= block, state, scratch);
  }
}

int64_t scratch_floats(const PackedModel& m, int64_t count) {
  const int64_t of_item = 2 * padded(m.dim) + 3 * padded(m.width) + padded(2 * m.width) + padded(m.feed_forward);
  return block_of(count) * of_item + (m.taps - 1) * padded(m.width);
}

void score(const PackedModel& m, const float* queries, int64_t stride, int64_t n_rows, float* scores,
           int64_t scores_stride) {
  multiply(m.items, nullptr, queries, stride, n_rows, m.dim, m.n_items, scores, scores_stride);
}

int64_t find_above(const float* scores, int64_t count, float threshold, int32_t* found) {
  const Vector limit = broadcast(threshold);
  int64_t n_found = 0;
  for (int64_t at = 0; at < count; at += kLanes) {
    for (unsigned left = bits_of(above(load_vector(scores + at), limit)); left != 0; left &= left - 1) {
      found[n_found++] = static_cast<int32_t>(at) + __builtin_ctz(left);
    }
  }
  return n_found;
}

}  // namespace

ModelKernels model_kernels() { return {kPanel, advance, scratch_floats, score, find_above}; }

}  // namespace RECBLR_ISA
}  // namespace recblr
