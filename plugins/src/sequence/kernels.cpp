// The kernels of the scan, the convolution, dropout and the cross-entropy. Compiled once per instruction set, with
// RECBLR_ISA its namespace, so that no function compiled for one set is taken for another's by the linker. For that
// reason, nothing of namespace std is used either.
//
// A unit of work is one row and one block of channels. Loops over channels are innermost, so that they vectorise, and
// each unit is computed in one fixed order: results depend neither on the threads nor on the other rows.
#include "sequence/kernels.h"

#include <math.h>

#include "abi/ragged.h"

#define RECBLR_SCALAR_NAMESPACE RECBLR_ISA
#include "cpu/scalar_math.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

inline float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

}  // namespace

constexpr int64_t kBlock = 64;

inline void copy(const float* from, int64_t count, float* to) {
  for (int64_t c = 0; c < count; ++c) to[c] = from[c];
}

inline void clear(float* values, int64_t count) {
  for (int64_t c = 0; c < count; ++c) values[c] = 0.0f;
}

template <typename T>
void scan_forward_unit(const recblr_gated_scan& a, int64_t row, int64_t first, int64_t count) {
  const T* x = static_cast<const T*>(a.x);
  const T* gates = static_cast<const T*>(a.gates);
  const T* z = static_cast<const T*>(a.z);
  T* y = static_cast<T*>(a.y);
  float h[kBlock], rate[kBlock];
  for (int64_t c = 0; c < count; ++c) {
    h[c] = a.h0[row * a.width + first + c];
    rate[c] = softplus(a.decay[first + c]);
  }
  const Row tokens = row_of(a, row);
  const int64_t x_stride = stride_or(a.x_stride, a.width), gates_stride = stride_or(a.gates_stride, 2 * a.width);
  const int64_t z_stride = stride_or(a.z_stride, a.width);
  float* segment_h =
      a.segment_h == nullptr ? nullptr : a.segment_h + first_segment(tokens.begin, row) * a.width + first;
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    if (segment_h != nullptr && (t - tokens.begin) % RECBLR_SEGMENT == 0) {
      copy(h, count, segment_h);
      segment_h += a.width;
    }
    const T* x_t = x + t * x_stride + first;
    const T* r_t = gates + t * gates_stride + first;
    const T* i_t = r_t + a.width;
    for (int64_t c = 0; c < count; ++c) {
      const float log_alpha = -rate[c] * sigmoid(load(r_t[c]));
      const float norm = sqrtf(one_minus_exp(2.0f * log_alpha) + kSqrtEpsilon);
      h[c] = exp_approximate(log_alpha) * h[c] + norm * sigmoid(load(i_t[c])) * load(x_t[c]);
    }
    if (!a.last_only) {
      const T* z_t = z + t * z_stride + first;
      T* y_t = y + t * a.width + first;
      for (int64_t c = 0; c < count; ++c) {
        const float gate = load(z_t[c]);
        store(gate * sigmoid(gate) * h[c], &y_t[c]);
      }
    }
  }
  copy(h, count, a.last_h + row * a.width + first);
  if (segment_h != nullptr && segment_h < a.segment_h + first_segment(tokens.end, row + 1) * a.width) {
    copy(h, count, segment_h);
  }
  if (a.last_only) {
    for (int64_t c = 0; c < count; ++c) {
      const float gate = load(z[row * z_stride + first + c]);
      store(gate * sigmoid(gate) * h[c], &y[row * a.width + first + c]);
    }
  }
}

// y = z sigmoid(z) h, backwards: gives the gradient of z and adds that of h.
template <typename T>
inline void output_gate_backward(T z, T grad_y, float h, T* grad_z, float* grad_h) {
  const float gate = load(z), open = sigmoid(gate), grad = load(grad_y);
  store(grad * h * open * (1.0f + gate * (1.0f - open)), grad_z);
  *grad_h += grad * gate * open;
}

// grad_rate: [B, H], this row's gradient of softplus(decay).
template <typename T>
void scan_backward_unit(const recblr_gated_scan& a, int64_t row, int64_t first, int64_t count, float* grad_rate) {
  const T* x = static_cast<const T*>(a.x);
  const T* gates = static_cast<const T*>(a.gates);
  const T* z = static_cast<const T*>(a.z);
  const T* grad_y = static_cast<const T*>(a.grad_y);
  T* grad_x = static_cast<T*>(a.grad_x);
  T* grad_gates = static_cast<T*>(a.grad_gates);
  T* grad_z = static_cast<T*>(a.grad_z);
  const Row tokens = row_of(a, row);
  const int64_t x_stride = stride_or(a.x_stride, a.width), gates_stride = stride_or(a.gates_stride, 2 * a.width);
  const int64_t z_stride = stride_or(a.z_stride, a.width);
  float grad_h[kBlock], rate[kBlock], rate_sum[kBlock];
  for (int64_t c = 0; c < count; ++c) {
    grad_h[c] = a.grad_last_h[row * a.width + first + c];
    rate[c] = softplus(a.decay[first + c]);
    rate_sum[c] = 0.0f;
  }
  // Of each token of a segment: both gates, alpha, the norm, and h before it (one more for the h after the last).
  float r[RECBLR_SEGMENT][kBlock], i[RECBLR_SEGMENT][kBlock], alpha[RECBLR_SEGMENT][kBlock];
  float norm[RECBLR_SEGMENT][kBlock], h[RECBLR_SEGMENT + 1][kBlock];
  const int64_t segments = (tokens.end - tokens.begin + RECBLR_SEGMENT - 1) / RECBLR_SEGMENT;
  if (a.last_only && segments == 0) {
    const float* last = a.h0 + row * a.width + first;
    for (int64_t c = 0; c < count; ++c) {
      const int64_t at = row * a.width + first + c;
      output_gate_backward(z[row * z_stride + first + c], grad_y[at], last[c], &grad_z[at], &grad_h[c]);
    }
  }
  for (int64_t segment = segments - 1; segment >= 0; --segment) {
    const int64_t begin = tokens.begin + segment * RECBLR_SEGMENT;
    const int64_t left = tokens.end - begin, length = left < RECBLR_SEGMENT ? left : RECBLR_SEGMENT;
    const float* before = a.segment_h + (first_segment(tokens.begin, row) + segment) * a.width + first;
    copy(before, count, h[0]);
    for (int64_t s = 0; s < length; ++s) {
      const T* x_t = x + (begin + s) * x_stride + first;
      const T* r_t = gates + (begin + s) * gates_stride + first;
      const T* i_t = r_t + a.width;
      for (int64_t c = 0; c < count; ++c) {
        r[s][c] = sigmoid(load(r_t[c]));
        i[s][c] = sigmoid(load(i_t[c]));
        const float log_alpha = -rate[c] * r[s][c];
        alpha[s][c] = exp_approximate(log_alpha);
        norm[s][c] = sqrtf(one_minus_exp(2.0f * log_alpha) + kSqrtEpsilon);
        h[s + 1][c] = alpha[s][c] * h[s][c] + norm[s][c] * i[s][c] * load(x_t[c]);
      }
    }
    if (a.last_only && segment == segments - 1) {
      for (int64_t c = 0; c < count; ++c) {
        const int64_t at = row * a.width + first + c;
        output_gate_backward(z[row * z_stride + first + c], grad_y[at], h[length][c], &grad_z[at], &grad_h[c]);
      }
    }
    for (int64_t s = length - 1; s >= 0; --s) {
      const int64_t t = begin + s, at = t * a.width + first;
      const T* x_t = x + t * x_stride + first;
      T* grad_r_t = grad_gates + 2 * t * a.width + first;
      T* grad_i_t = grad_r_t + a.width;
      if (!a.last_only) {
        for (int64_t c = 0; c < count; ++c) {
          output_gate_backward(z[t * z_stride + first + c], grad_y[at + c], h[s + 1][c], &grad_z[at + c], &grad_h[c]);
        }
      }
      for (int64_t c = 0; c < count; ++c) {
        const float grad = grad_h[c], grad_beta = grad * load(x_t[c]);
        store(grad * norm[s][c] * i[s][c], &grad_x[at + c]);
        store(grad_beta * norm[s][c] * i[s][c] * (1.0f - i[s][c]), &grad_i_t[c]);
        // d norm / d log alpha = -alpha^2 / norm
        const float grad_log_alpha =
            grad * h[s][c] * alpha[s][c] - grad_beta * i[s][c] * alpha[s][c] * alpha[s][c] / norm[s][c];
        store(-rate[c] * grad_log_alpha * r[s][c] * (1.0f - r[s][c]), &grad_r_t[c]);
        rate_sum[c] -= r[s][c] * grad_log_alpha;
        grad_h[c] = grad * alpha[s][c];
      }
    }
  }
  copy(grad_h, count, a.grad_h0 + row * a.width + first);
  copy(rate_sum, count, grad_rate + row * a.width + first);
}

// The convolution's input at a position of the row, negative ones being in the tail.
template <typename T>
inline void load_inputs(const recblr_causal_conv1d& a, int64_t row, int64_t position, int64_t first, int64_t count,
                        float* to) {
  if (position >= 0) {
    const T* from =
        static_cast<const T*>(a.x) + (row_of(a, row).begin + position) * stride_or(a.x_stride, a.width) + first;
    for (int64_t c = 0; c < count; ++c) to[c] = load(from[c]);
  } else {
    const float* from = a.tail + ((row + 1) * (a.taps - 1) + position) * a.width + first;
    copy(from, count, to);
  }
}

// bias + weight * inputs at one position, before the SiLU. `inputs` is a ring of K blocks: the input at position p is
// in block (p + K-1) % K. `weight` is [K, H].
inline void convolve(const recblr_causal_conv1d& a, int64_t position, int64_t first, int64_t count, const float* weight,
                     const float* inputs, float* sum) {
  for (int64_t c = 0; c < count; ++c) sum[c] = a.bias[first + c];
  for (int64_t tap = 0; tap < a.taps; ++tap) {
    const float* in = inputs + (position + tap) % a.taps * kBlock;
    const float* w = weight + tap * a.width + first;
    for (int64_t c = 0; c < count; ++c) sum[c] += w[c] * in[c];
  }
}

template <typename T>
void conv_forward_unit(const recblr_causal_conv1d& a, int64_t row, int64_t first, int64_t count, const float* weight,
                       float* inputs) {
  const int64_t begin = row_of(a, row).begin, length = row_of(a, row).end - begin, past = a.taps - 1;
  float sum[kBlock];
  for (int64_t t = -past; t < length; ++t) {
    load_inputs<T>(a, row, t, first, count, inputs + (t + past) % a.taps * kBlock);
    if (t < 0) continue;
    convolve(a, t, first, count, weight, inputs, sum);
    T* y = static_cast<T*>(a.y) + (begin + t) * a.width + first;
    for (int64_t c = 0; c < count; ++c) store(sum[c] * sigmoid(sum[c]), &y[c]);
  }
  for (int64_t slot = 0; slot < past; ++slot) {
    load_inputs<T>(a, row, length - past + slot, first, count, a.new_tail + (row * past + slot) * a.width + first);
  }
}

// grad_weight: [B, K, H] and grad_bias: [B, H], this row's.
template <typename T>
void conv_backward_unit(const recblr_causal_conv1d& a, int64_t row, int64_t first, int64_t count, const float* weight,
                        float* scratch, float* grad_weight, float* grad_bias) {
  const int64_t begin = row_of(a, row).begin, length = row_of(a, row).end - begin, past = a.taps - 1;
  T* grad_x = static_cast<T*>(a.grad_x);
  float sum[kBlock], grad[kBlock], total[kBlock], bias_sum[kBlock];
  float* inputs = scratch;                    // as in convolve
  float* recent = scratch + a.taps * kBlock;  // gradients of the last K pre-activations, such a ring
  float* weight_sum = scratch + 2 * a.taps * kBlock;
  clear(recent, 2 * a.taps * kBlock);
  clear(bias_sum, kBlock);
  for (int64_t t = length - past; t < length; ++t) {
    if (t >= -past) load_inputs<T>(a, row, t, first, count, inputs + (t + past) % a.taps * kBlock);
  }
  // An input at position p met tap j at position p + K-1 - j: once position t is done from the end, p = t is complete.
  for (int64_t t = length - 1; t >= -past; --t) {
    if (t >= 0) {
      load_inputs<T>(a, row, t - past, first, count, inputs + t % a.taps * kBlock);
      convolve(a, t, first, count, weight, inputs, sum);
      const T* grad_y = static_cast<const T*>(a.grad_y) + (begin + t) * a.width + first;
      for (int64_t c = 0; c < count; ++c) {
        const float open = sigmoid(sum[c]);
        grad[c] = load(grad_y[c]) * open * (1.0f + sum[c] * (1.0f - open));
        bias_sum[c] += grad[c];
      }
      for (int64_t tap = 0; tap < a.taps; ++tap) {
        const float* in = inputs + (t + tap) % a.taps * kBlock;
        float* of_tap = weight_sum + tap * kBlock;
        for (int64_t c = 0; c < count; ++c) of_tap[c] += grad[c] * in[c];
      }
    } else {
      clear(grad, count);
    }
    copy(grad, count, recent + (t + past) % a.taps * kBlock);
    clear(total, count);
    for (int64_t tap = 0; tap < a.taps; ++tap) {
      const int64_t met = t + past - tap;
      if (met >= length) continue;
      const float* g = recent + (met + past) % a.taps * kBlock;
      const float* w = weight + tap * a.width + first;
      for (int64_t c = 0; c < count; ++c) total[c] += w[c] * g[c];
    }
    const int64_t slot = t - (length - past);  // of the new tail
    if (slot >= 0) {
      const float* from_tail = a.grad_new_tail + (row * past + slot) * a.width + first;
      for (int64_t c = 0; c < count; ++c) total[c] += from_tail[c];
    }
    if (t >= 0) {
      for (int64_t c = 0; c < count; ++c) store(total[c], &grad_x[(begin + t) * a.width + first + c]);
    } else {
      copy(total, count, a.grad_tail + (row * past + past + t) * a.width + first);
    }
  }
  for (int64_t tap = 0; tap < a.taps; ++tap) {
    copy(weight_sum + tap * kBlock, count, grad_weight + (row * a.taps + tap) * a.width + first);
  }
  copy(bias_sum, count, grad_bias + row * a.width + first);
}

// Well mixed bits of a seed and a chunk's number (the finaliser of SplitMix64).
inline uint64_t chunk_key(uint64_t seed, uint64_t chunk) {
  uint64_t bits = seed + (chunk + 1) * 0x9e3779b97f4a7c15u;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

template <typename T>
void dropout_chunk(const recblr_dropout& a, int64_t chunk) {
  const int64_t begin = chunk * kDropoutChunk;
  const int64_t count = a.n_elements - begin < kDropoutChunk ? a.n_elements - begin : kDropoutChunk;
  const T* x = static_cast<const T*>(a.x) + begin;
  T* y = static_cast<T*>(a.y) + begin;
  const uint64_t key = chunk_key(a.seed, static_cast<uint64_t>(chunk));
  const uint32_t start = static_cast<uint32_t>(key), middle = static_cast<uint32_t>(key >> 32);
  const uint32_t dropped = static_cast<uint32_t>(static_cast<double>(a.p) * 4294967296.0);
  const float scale = 1.0f / (1.0f - a.p);
  for (int64_t n = 0; n < count; ++n) {
    uint32_t bits = static_cast<uint32_t>(n) + start;
    bits = (bits ^ (bits >> 16)) * 0x21f0aaadu ^ middle;
    bits = (bits ^ (bits >> 15)) * 0xd35a2d97u;
    bits ^= bits >> 15;
    const float value = load(x[n]) * scale;
    store(bits >= dropped ? value : 0.0f, &y[n]);
  }
}

template <typename T>
void cross_entropy_row(const recblr_cross_entropy& a, int64_t row) {
  constexpr int64_t kLanes = 16, kRun = 64 * kLanes;  // sums of a run are float32, those of runs float64
  T* logits = static_cast<T*>(a.logits) + row * a.width;
  const float at_target = load(logits[a.targets[row]]);
  float largest[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) largest[lane] = at_target;
  const int64_t whole = 1 + (a.width - 1) / kLanes * kLanes;
  for (int64_t c = 1; c < whole; c += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = load(logits[c + lane]);
      largest[lane] = value > largest[lane] ? value : largest[lane];
    }
  }
  float top = at_target;
  for (int64_t c = whole; c < a.width; ++c) top = load(logits[c]) > top ? load(logits[c]) : top;
  for (int64_t lane = 0; lane < kLanes; ++lane) top = largest[lane] > top ? largest[lane] : top;

  double total = 0.0;
  for (int64_t c = whole; c < a.width; ++c) total += exp_approximate(load(logits[c]) - top);
  for (int64_t run = 1; run < whole; run += kRun) {
    float sums[kLanes] = {};
    for (int64_t c = run; c < whole && c < run + kRun; c += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += exp_approximate(load(logits[c + lane]) - top);
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) total += sums[lane];
  }
  const float log_sum = top + static_cast<float>(log(total));
  a.losses[row] = log_sum - at_target;
  if (a.keep_logits) return;
  store(0.0f, &logits[0]);
  for (int64_t c = 1; c < a.width; ++c) store(exp_approximate(load(logits[c]) - log_sum), &logits[c]);
  store(exp_approximate(at_target - log_sum) - 1.0f, &logits[a.targets[row]]);
}

template <typename T>
constexpr Kernels kernels_of() {
  return {kBlock,           scan_forward_unit<T>, scan_backward_unit<T>, conv_forward_unit<T>, conv_backward_unit<T>,
          dropout_chunk<T>, cross_entropy_row<T>};
}

Kernels kernels(int32_t dtype) {
  if (dtype == RECBLR_FLOAT16) return kernels_of<Half>();
  if (dtype == RECBLR_BFLOAT16) return kernels_of<BFloat16>();
  return kernels_of<float>();
}

}  // namespace RECBLR_ISA
}  // namespace recblr
