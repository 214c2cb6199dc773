// The convolution's view of a row: tokens with the tail before them.
#pragma once

#include "cuda/gates.h"

namespace recblr {
namespace cuda {

constexpr int kMostTaps = 16;

// The row of token t: the last that begins at or before it, which passes over empty rows.
template <typename Arguments>
__device__ inline int64_t find_row(const Arguments& a, int64_t t) {
  int64_t low = 0, high = a.n_rows;  // the first row that begins behind t lies in [low + 1, high]
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (offset(a, middle) <= t) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// What a thread knows of the row it is in.
struct RowPlace {
  int64_t row, begin, end;
};

__device__ inline RowPlace place_of(const recblr_causal_conv1d& a, int64_t t) {
  const int64_t row = find_row(a, t);
  const Row tokens = row_of(a, row);
  // Whatever the offsets say, t is in [begin, end): no position is negative, and no row is left at its beginning.
  return {row, tokens.begin < t ? tokens.begin : t, tokens.end > t ? tokens.end : t + 1};
}

// V channels of the input at `position` of a row; negative positions, of at least 1 - K, are in its tail.
template <typename T, int V>
__device__ inline void load_input(const recblr_causal_conv1d& a, int64_t row, int64_t row_begin, int64_t position,
                                  int64_t first, float (&values)[V]) {
  if (position >= 0) {
    const int64_t at = (row_begin + position) * stride_or(a.x_stride, a.width) + first;
    load_floats(static_cast<const T*>(a.x) + at, values);
  } else {
    load_floats(a.tail + ((row + 1) * (a.taps - 1) + position) * a.width + first, values);
  }
}

// A thread's weights: [K][V]. K = 0 stands for any number of taps up to kMostTaps.
template <int K, int V>
struct Taps {
  static constexpr int kCapacity = K == 0 ? kMostTaps : K;
  int count;
  float weight[kCapacity][V], bias[V];

  __device__ Taps(const recblr_causal_conv1d& a, int64_t first) : count(K == 0 ? static_cast<int>(a.taps) : K) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      bias[v] = a.bias[first + v];
#pragma unroll
      for (int k = 0; k < kCapacity; ++k) {
        if (k < count) weight[k][v] = a.weight[(first + v) * count + k];
      }
    }
  }
};

// bias + weight * inputs at one position; `inputs`, if not NULL, gets the K inputs.
template <typename T, int K, int V>
__device__ inline void convolve(const recblr_causal_conv1d& a, const Taps<K, V>& taps, const RowPlace& place, int64_t t,
                                int64_t first, float (&sum)[V], float (*inputs)[V]) {
#pragma unroll
  for (int v = 0; v < V; ++v) sum[v] = taps.bias[v];
#pragma unroll
  for (int k = 0; k < Taps<K, V>::kCapacity; ++k) {
    if (k < taps.count) {
      float in[V];
      load_input<T, V>(a, place.row, place.begin, t - place.begin - (taps.count - 1) + k, first, in);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        sum[v] = fmaf(taps.weight[k][v], in[v], sum[v]);
        if (inputs != nullptr) inputs[k][v] = in[v];
      }
    }
  }
}

template <typename Body>
int with_taps(int64_t taps, const Body& body) {
  if (taps == 2) return body(std::integral_constant<int, 2>());
  if (taps == 3) return body(std::integral_constant<int, 3>());
  if (taps == 4) return body(std::integral_constant<int, 4>());
  return body(std::integral_constant<int, 0>());
}

// Returns a status: RECBLR_UNSUPPORTED for more taps than the kernels take.
inline int check_most_taps(int64_t taps) {
  if (taps <= kMostTaps) return RECBLR_OK;
  return fail(RECBLR_UNSUPPORTED,
              "taps is " + std::to_string(taps) + ": the GPU kernels take 1 to " + std::to_string(kMostTaps));
}

}  // namespace cuda
}  // namespace recblr
