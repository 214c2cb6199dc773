// A whole model's forward pass, and the scores of all items, from weights in panels. Compiled once per
// instruction set, with RECBLR_ISA its namespace.
#include "backends/model/kernels.h"

#include <math.h>
#include <string.h>

#include "cpu/vector.h"

#define RECBLR_SCALAR_NAMESPACE RECBLR_ISA
#include "cpu/scalar_math.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

constexpr int kVectors = 4;  // of a panel: as many sums as hide the latency of one
constexpr int64_t kPanel = kVectors * kLanes;
// Rows that share a reading of a matrix; their sums and its vectors must fit the registers.
constexpr int kSharing = kLanes == 16 ? 6 : 2;
// Items that pass through a layer together, of one row or of several: their activations stay in the second nearest
// cache.
constexpr int64_t kBlock = 24;

inline int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }
inline int64_t padded(int64_t n) { return panels_of(n) * kPanel; }

// One panel's outputs for kRows inputs, each `x_stride` and `y_stride` after the other.
template <int kRows>
inline void multiply_panel(const float* matrix, const float* bias, const float* x, int64_t x_stride, int64_t inputs,
                           float* y, int64_t y_stride) {
  Vector sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[row][v] = bias == nullptr ? zero() : load_vector(bias + v * kLanes);
  }
  for (int64_t i = 0; i < inputs; ++i, matrix += kPanel) {
    Vector weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = load_vector(matrix + v * kLanes);
#pragma GCC unroll 6
    for (int row = 0; row < kRows; ++row) {
      const Vector value = broadcast(x[row * x_stride + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[row][v] = multiply_add(value, weights[v], sums[row][v]);
    }
  }
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_vector(y + row * y_stride + v * kLanes, sums[row][v]);
  }
}

// One panel's outputs for any number of inputs up to kRows.
template <int kRows>
inline void multiply_rest(int64_t n_rows, const float* matrix, const float* bias, const float* x, int64_t x_stride,
                          int64_t inputs, float* y, int64_t y_stride) {
  if (n_rows == kRows) {
    multiply_panel<kRows>(matrix, bias, x, x_stride, inputs, y, y_stride);
  } else if constexpr (kRows > 1) {
    multiply_rest<kRows - 1>(n_rows, matrix, bias, x, x_stride, inputs, y, y_stride);
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
    multiply_rest<kSharing - 1>(n_rows - row, matrix, of_panel, x + row * x_stride, x_stride, inputs,
                                y + row * y_stride, y_stride);
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

inline void copy(const float* from, int64_t count, float* to) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

// The convolution of one row's inputs [count, H], at least one, `stride` apart, behind its tail [K-1, H], which is
// moved on.
inline void convolve(const PackedLayer& layer, int64_t width, int64_t taps, const float* inputs, int64_t count,
                     int64_t stride, float* tail, float* outputs) {
  const int64_t past = taps - 1;
  const auto input_at = [&](int64_t t) { return t < 0 ? tail + (past + t) * width : inputs + t * stride; };
  for (int64_t t = 0; t < count; ++t, outputs += stride) {
    copy(layer.conv_bias, width, outputs);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const float* weight = layer.conv_weight + tap * width;
      const float* input = input_at(t - past + tap);
      for (int64_t c = 0; c < width; ++c) outputs[c] += weight[c] * input[c];
    }
    for (int64_t c = 0; c < width; ++c) outputs[c] = silu(outputs[c]);
  }
  for (int64_t t = 0; t < past; ++t) copy(input_at(count - past + t), width, tail + t * width);
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

// Consecutive items of a row.
struct Piece {
  const int32_t* items;
  int64_t count;
  bool has_last;  // the row's last item: its output becomes the row's query vector
  float* state;   // of the layer that is computed
};

// Feeds `count` items in all, of at most kBlock, to the states of different rows. The matrices' products are of all
// items together, what depends on the order is of each piece by itself.
void advance_block(const PackedModel& m, Piece* pieces, int64_t n_pieces, int64_t count, float* scratch) {
  const int64_t dim = m.dim, width = m.width, bytes = dim * static_cast<int64_t>(sizeof(float));
  const int64_t dim_stride = padded(dim), width_stride = padded(width), inner_stride = padded(m.feed_forward);
  const int64_t gates_stride = padded(2 * width);
  float* const x = scratch;  // [count, D], as the next
  float* const branch = x + count * dim_stride;
  float* const inputs = branch + count * dim_stride;  // [count, H], as the next two
  float* const u = inputs + count * width_stride;
  float* const z = u + count * width_stride;
  float* const gates = z + count * width_stride;      // [count, 2H]
  float* const inner = gates + count * gates_stride;  // [count, F]
  float* to = x;
  for (int64_t p = 0; p < n_pieces; ++p) {
    for (int64_t t = 0; t < pieces[p].count; ++t, to += dim_stride) {
      const unsigned char* from = static_cast<const unsigned char*>(m.embedding) + pieces[p].items[t] * bytes;
      memcpy(to, from, static_cast<size_t>(bytes));
      layer_norm(to, dim, m.norm_epsilon, m.norm_weight, m.norm_bias, branch);
    }
  }
  for (int64_t l = 0; l < m.n_layers; ++l) {
    const PackedLayer& layer = m.layers[l];
    multiply(layer.in_x, nullptr, x, dim_stride, count, dim, width, inputs, width_stride);
    for (int64_t p = 0, first = 0; p < n_pieces; first += pieces[p].count, ++p) {
      const int64_t at = first * width_stride;
      convolve(layer, width, m.taps, inputs + at, pieces[p].count, width_stride, pieces[p].state, u + at);
    }
    multiply(layer.gates, layer.gates_bias, u, width_stride, count, width, 2 * width, gates, gates_stride);
    for (int64_t p = 0, at = 0; p < n_pieces; ++p) {
      float* const h = pieces[p].state + (m.taps - 1) * width;
      for (int64_t t = 0; t < pieces[p].count; ++t, ++at) {
        recur(layer, width, gates + at * gates_stride, h, u + at * width_stride);
      }
      pieces[p].state = h + width;
    }
    int64_t n_rows = count;
    if (l + 1 == m.n_layers) {  // of the last layer, only the rows' last items' outputs are used
      n_rows = 0;
      for (int64_t p = 0, at = 0; p < n_pieces; ++p) {
        at += pieces[p].count;
        if (!pieces[p].has_last) continue;
        if (n_rows < at - 1) {
          copy(x + (at - 1) * dim_stride, dim, x + n_rows * dim_stride);
          copy(u + (at - 1) * width_stride, width, u + n_rows * width_stride);
        }
        ++n_rows;
      }
    }
    multiply(layer.in_z, nullptr, x, dim_stride, n_rows, dim, width, z, width_stride);
    for (int64_t at = 0; at < n_rows * width_stride; ++at) z[at] = silu(z[at]) * u[at];
    multiply(layer.out, nullptr, z, width_stride, n_rows, width, dim, branch, dim_stride);
    for (int64_t t = 0; t < n_rows; ++t) {
      add_and_normalise(x + t * dim_stride, branch + t * dim_stride, dim, m.norm_epsilon, layer.recurrent_norm_weight,
                        layer.recurrent_norm_bias);
    }
    multiply(layer.up, layer.up_bias, x, dim_stride, n_rows, dim, m.feed_forward, inner, inner_stride);
    for (int64_t at = 0; at < n_rows * inner_stride; ++at) inner[at] = silu(inner[at]);
    multiply(layer.down, layer.down_bias, inner, inner_stride, n_rows, m.feed_forward, dim, branch, dim_stride);
    for (int64_t t = 0; t < n_rows; ++t) {
      add_and_normalise(x + t * dim_stride, branch + t * dim_stride, dim, m.norm_epsilon,
                        layer.feed_forward_norm_weight, layer.feed_forward_norm_bias);
    }
  }
  for (int64_t p = 0, row = 0; p < n_pieces; ++p) {
    if (pieces[p].has_last) copy(x + row++ * dim_stride, dim, pieces[p].state);
  }
}

void advance(const PackedModel& m, const FedRow* rows, int64_t n_rows, float* scratch) {
  Piece pieces[kBlock];
  int64_t n_pieces = 0, count = 0;
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t at = 0; at < rows[row].count;) {
      const int64_t left = rows[row].count - at, room = kBlock - count, taken = left < room ? left : room;
      pieces[n_pieces++] = {rows[row].items + at, taken, taken == left, rows[row].state};
      at += taken;
      count += taken;
      if (count < kBlock) continue;
      advance_block(m, pieces, n_pieces, count, scratch);
      n_pieces = count = 0;
    }
  }
  if (count > 0) advance_block(m, pieces, n_pieces, count, scratch);
}

int64_t scratch_floats(const PackedModel& m, int64_t count) {
  const int64_t of_item = 2 * padded(m.dim) + 3 * padded(m.width) + padded(2 * m.width) + padded(m.feed_forward);
  return (count < kBlock ? count : kBlock) * of_item;
}

void score(const PackedModel& m, const float* queries, int64_t stride, int64_t n_rows, float* scores,
           int64_t scores_stride) {
  multiply(m.items, nullptr, queries, stride, n_rows, m.dim, m.n_items, scores, scores_stride);
}

}  // namespace

ModelKernels model_kernels() { return {kPanel, advance, scratch_floats, score}; }

}  // namespace RECBLR_ISA
}  // namespace recblr
