// What a thread computes of one segment - up to kSegment tokens of one row, V channels - in both directions.
//
// With h the state before the segment, h_t = fma(product_t, h, drive_t). The combination of segments is always
// h' = fma(product, h, drive), one after another, whether by one thread or across a block.
#pragma once

#include "cuda/gates.h"

namespace recblr {
namespace cuda {

constexpr int kSegment = RECBLR_SEGMENT;

template <typename T, int V>
struct SegmentInputs {
  Pack<T, V> x[kSegment], r[kSegment], i[kSegment];
};

// Pointers to a thread's first channel, and the strides between tokens.
template <typename T>
struct ScanData {
  const T *x, *gates, *z;
  int64_t width, x_stride, gates_stride, z_stride;
};

template <typename T>
__device__ inline ScanData<T> scan_data(const recblr_gated_scan& a, int64_t first) {
  return {static_cast<const T*>(a.x) + first, static_cast<const T*>(a.gates) + first,
          static_cast<const T*>(a.z) + first, a.width,
          stride_or(a.x_stride, a.width),     stride_or(a.gates_stride, 2 * a.width),
          stride_or(a.z_stride, a.width)};
}

__device__ inline int tokens_of_segment(int64_t begin, int64_t end) {
  const int64_t left = end - begin;
  return left >= kSegment ? kSegment : left > 0 ? static_cast<int>(left) : 0;
}

template <typename T, int V>
__device__ inline void load_segment(const ScanData<T>& data, int64_t begin, int count, SegmentInputs<T, V>* inputs) {
#pragma unroll
  for (int s = 0; s < kSegment; ++s) {
    if (s < count) {
      const T* gates = data.gates + (begin + s) * data.gates_stride;
      inputs->x[s] = load_pack<T, V>(data.x + (begin + s) * data.x_stride);
      inputs->r[s] = load_pack<T, V>(gates);
      inputs->i[s] = load_pack<T, V>(gates + data.width);
    }
  }
}

template <int V>
__device__ inline void load_rates(const float* decay, float (&rate)[V]) {
  load_floats(decay, rate);
#pragma unroll
  for (int v = 0; v < V; ++v) rate[v] = softplus(rate[v]);
}

// Takes one token more into the product and the drive of a segment's tokens so far.
template <typename T, int V>
__device__ inline void advance(const SegmentInputs<T, V>& inputs, int s, const float (&rate)[V], float (&product)[V],
                               float (&drive)[V]) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const Gates gates = open_gates(load(inputs.r[s].at[v]), load(inputs.i[s].at[v]), rate[v]);
    product[v] = gates.alpha * product[v];
    drive[v] = fmaf(gates.alpha, drive[v], gates.norm * gates.i * load(inputs.x[s].at[v]));
  }
}

template <typename T, int V>
struct OutputGates {
  Pack<T, V> z[kSegment];
};

template <typename T, int V>
__device__ inline void load_output_gates(const ScanData<T>& data, int64_t begin, int count, OutputGates<T, V>* gates) {
#pragma unroll
  for (int s = 0; s < kSegment; ++s) {
    if (s < count) gates->z[s] = load_pack<T, V>(data.z + (begin + s) * data.z_stride);
  }
}

// y = SiLU(z) h at one token, with h from the state before its segment.
template <typename T, int V>
__device__ inline void write_output(const Pack<T, V>& z, const float (&before)[V], const float (&product)[V],
                                    const float (&drive)[V], T* y) {
  float out[V];
#pragma unroll
  for (int v = 0; v < V; ++v) out[v] = silu(load(z.at[v])) * fmaf(product[v], before[v], drive[v]);
  store_pack(out, y);
}

// What the backward pass keeps of a segment between its two halves. The gradient of h at token s is
// fma(products[s], later, grads[s]), `later` being the gradient that comes from behind the segment.
template <int V>
struct SegmentGradients {
  float x[kSegment][V], r[kSegment][V], i[kSegment][V], alpha[kSegment][V], norm[kSegment][V],
      inverse_norm[kSegment][V];
  float before[kSegment][V];  // h before each token
  float products[kSegment][V], grads[kSegment][V];
  float whole_product[V], whole_grad[V];  // the gradient before the segment is fma(whole_product, later, whole_grad)
};

// y = SiLU(z) h backwards at one place: writes the gradient of z, gives that of h.
template <typename T, int V>
__device__ inline void output_gate_backward(const T* z, const T* grad_y, const float (&h)[V], T* grad_z,
                                            float (&grad_h)[V]) {
  float gate[V], grad[V], out[V];
  load_floats(z, gate);
  load_floats(grad_y, grad);
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const float open = sigmoid(gate[v]);
    out[v] = grad[v] * h[v] * silu_slope(gate[v], open);
    grad_h[v] = grad[v] * (gate[v] * open);
  }
  store_pack(out, grad_z);
}

// The first half: all that does not depend on `later`, and the gradient of z. `last` gets the h after the segment.
template <typename T, int V>
__device__ inline void backward_segment(const recblr_gated_scan& a, const ScanData<T>& data, int64_t first,
                                        int64_t begin, int count, const float (&rate)[V], const float* segment_h,
                                        SegmentGradients<V>* kept, float (&last)[V]) {
  SegmentInputs<T, V> inputs;
  load_segment<T, V>(data, begin, count, &inputs);
  load_floats(segment_h, last);
#pragma unroll
  for (int s = 0; s < kSegment; ++s) {
    if (s < count) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const Gates gates = open_gates(load(inputs.r[s].at[v]), load(inputs.i[s].at[v]), rate[v]);
        kept->x[s][v] = load(inputs.x[s].at[v]);
        kept->r[s][v] = gates.r;
        kept->i[s][v] = gates.i;
        kept->alpha[s][v] = gates.alpha;
        kept->norm[s][v] = gates.norm;
        kept->inverse_norm[s][v] = gates.inverse_norm;
        kept->before[s][v] = last[v];
        last[v] = fmaf(gates.alpha, last[v], gates.norm * gates.i * kept->x[s][v]);
        kept->grads[s][v] = 0.0f;
      }
      if (!a.last_only) {
        const int64_t at = (begin + s) * a.width + first;
        output_gate_backward(data.z + (begin + s) * data.z_stride, static_cast<const T*>(a.grad_y) + at, last,
                             static_cast<T*>(a.grad_z) + at, kept->grads[s]);
      }
    }
  }
#pragma unroll
  for (int v = 0; v < V; ++v) {
    float product = 1.0f, grad = 0.0f;
#pragma unroll
    for (int s = kSegment - 1; s >= 0; --s) {
      if (s < count) {
        kept->products[s][v] = product;
        grad = kept->grads[s][v] = kept->grads[s][v] + grad;
        product *= kept->alpha[s][v];
        grad *= kept->alpha[s][v];
      }
    }
    kept->whole_product[v] = product;
    kept->whole_grad[v] = grad;
  }
}

// The second half: the gradients of x and of the gates; adds that of the rate.
template <typename T, int V>
__device__ inline void finish_backward_segment(const recblr_gated_scan& a, int64_t first, int64_t begin, int count,
                                               const float (&rate)[V], const float (&later)[V],
                                               const SegmentGradients<V>& kept, float (&grad_rate)[V]) {
#pragma unroll
  for (int s = kSegment - 1; s >= 0; --s) {
    if (s < count) {
      float grad_x[V], grad_r[V], grad_i[V];
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float grad = fmaf(kept.products[s][v], later[v], kept.grads[s][v]);
        const float r = kept.r[s][v], i = kept.i[s][v], alpha = kept.alpha[s][v];
        const float grad_beta = grad * kept.x[s][v];
        grad_x[v] = grad * kept.norm[s][v] * i;
        grad_i[v] = grad_beta * kept.norm[s][v] * i * (1.0f - i);
        // d norm / d log alpha = -alpha^2 / norm
        const float grad_log_alpha =
            grad * kept.before[s][v] * alpha - grad_beta * i * (alpha * alpha * kept.inverse_norm[s][v]);
        grad_r[v] = -rate[v] * grad_log_alpha * r * (1.0f - r);
        grad_rate[v] -= r * grad_log_alpha;
      }
      T* grad_gates = static_cast<T*>(a.grad_gates) + (begin + s) * 2 * a.width + first;
      store_pack(grad_x, static_cast<T*>(a.grad_x) + (begin + s) * a.width + first);
      store_pack(grad_r, grad_gates);
      store_pack(grad_i, grad_gates + a.width);
    }
  }
}

}  // namespace cuda
}  // namespace recblr
