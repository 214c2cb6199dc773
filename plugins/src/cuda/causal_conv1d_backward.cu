// The causal convolution, backward, on the GPU. Nothing is saved but its inputs: the pre-activations are computed
// again.
#include <type_traits>

#include "cuda/sum_rows.h"
#include "cuda/window.h"

namespace recblr {
namespace cuda {
namespace {

constexpr int kLanes = 16, kTokenLanes = 16, kPack = 2;  // a block's threads; channels of a thread
constexpr int kTile = 64;                                // tokens whose gradients a block finishes at a time
constexpr int64_t kMostSums = 512;  // blocks along the tokens: each leaves one sum for weights and bias

inline int64_t token_blocks(int64_t n_tokens) {
  const int64_t tiles = divide_up(n_tokens, kTile);
  return tiles < 1 ? 1 : tiles < kMostSums ? tiles : kMostSums;
}

// The gradient of the pre-activation at token t.
template <typename T, int K, int V>
__device__ inline void activation_backward(const recblr_causal_conv1d& a, const Taps<K, V>& taps, const RowPlace& place,
                                           int64_t t, int64_t first, float (&grad)[V], float (*inputs)[V]) {
  float sum[V];
  convolve<T, K, V>(a, taps, place, t, first, sum, inputs);
  load_floats(static_cast<const T*>(a.grad_y) + t * a.width + first, grad);
#pragma unroll
  for (int v = 0; v < V; ++v) grad[v] *= silu_slope(sum[v], sigmoid(sum[v]));
}

// The gradient of the new tail's entry that is the row's input at `position`, 0 where it is none.
template <int V>
__device__ inline void add_tail_gradient(const recblr_causal_conv1d& a, int64_t row, int64_t length, int64_t position,
                                         int64_t first, float (&grad)[V]) {
  const int64_t past = a.taps - 1, slot = position - (length - past);
  if (slot < 0 || slot >= past) return;
#pragma unroll
  for (int v = 0; v < V; ++v) grad[v] += a.grad_new_tail[(row * past + slot) * a.width + first + v];
}

// grad_x, and the sums of a block's tokens for weights and bias: [token blocks, K+1, H], the bias last.
template <typename T, int K, int V>
__global__ void __launch_bounds__(kLanes* kTokenLanes)
    convolve_backward(const recblr_causal_conv1d a, int64_t channel_blocks, int64_t n_token_blocks, float* sums) {
  // Gradients of the pre-activations of a tile and the K-1 tokens after it; at the end the sums of all threads.
  RECBLR_SHARED_FLOATS(shared);
  constexpr int kBlockChannels = kLanes * V;
  const int64_t past = a.taps - 1;
  float* const own = shared + threadIdx.x * V;
  for (int64_t work = blockIdx.x; work < channel_blocks * n_token_blocks; work += gridDim.x) {
    const int64_t first = work % channel_blocks * kBlockChannels + threadIdx.x * V;
    const int64_t token_block = work / channel_blocks;
    const bool has_channels = first < a.width;
    const Taps<K, V> taps(a, has_channels ? first : 0);
    float weight_sum[Taps<K, V>::kCapacity][V] = {}, bias_sum[V] = {};
    for (int64_t tile = token_block; tile * kTile < a.n_tokens; tile += n_token_blocks) {
      const int64_t begin = tile * kTile, end = begin + kTile < a.n_tokens ? begin + kTile : a.n_tokens;
      for (int at = threadIdx.y; at < kTile + past && has_channels; at += kTokenLanes) {
        const int64_t t = begin + at;
        if (t >= a.n_tokens) break;
        float inputs[Taps<K, V>::kCapacity][V], grad[V];
        activation_backward<T, K, V>(a, taps, place_of(a, t), t, first, grad, inputs);
        store_pack(grad, own + at * kBlockChannels);
        if (t < end) {
#pragma unroll
          for (int v = 0; v < V; ++v) {
            bias_sum[v] += grad[v];
#pragma unroll
            for (int k = 0; k < Taps<K, V>::kCapacity; ++k) {
              if (k < taps.count) weight_sum[k][v] = fmaf(grad[v], inputs[k][v], weight_sum[k][v]);
            }
          }
        }
      }
      __syncthreads();
      for (int64_t t = begin + threadIdx.y; t < end && has_channels; t += kTokenLanes) {
        const RowPlace place = place_of(a, t);
        float grad_x[V] = {};
#pragma unroll
        for (int ahead = 0; ahead < Taps<K, V>::kCapacity; ++ahead) {
          if (ahead < taps.count && t + ahead < place.end) {
            const float* const grad = own + (t - begin + ahead) * kBlockChannels;
#pragma unroll
            for (int v = 0; v < V; ++v) {
              // The tap that met token t when the convolution was `ahead` tokens further.
              const float weight =
                  K == 0 ? taps.weight[taps.count - 1 - ahead][v] : taps.weight[K == 0 ? 0 : K - 1 - ahead][v];
              grad_x[v] = fmaf(weight, grad[v], grad_x[v]);
            }
          }
        }
        add_tail_gradient(a, place.row, place.end - place.begin, t - place.begin, first, grad_x);
        store_pack(grad_x, static_cast<T*>(a.grad_x) + t * a.width + first);
      }
      __syncthreads();
    }
    for (int k = 0; k <= taps.count; ++k) {
      float sum[V];
      for (int v = 0; v < V; ++v) sum[v] = bias_sum[v];
#pragma unroll
      for (int tap = 0; tap < Taps<K, V>::kCapacity; ++tap) {  // no index into registers
        if (tap == k && tap < taps.count) {
          for (int v = 0; v < V; ++v) sum[v] = weight_sum[tap][v];
        }
      }
      store_pack(sum, own + threadIdx.y * kBlockChannels);
      __syncthreads();
      if (threadIdx.y == 0 && has_channels) {
        for (int y = 1; y < kTokenLanes; ++y) {
          for (int v = 0; v < V; ++v) sum[v] += own[y * kBlockChannels + v];
        }
        store_pack(sum, sums + (token_block * (a.taps + 1) + k) * a.width + first);
      }
      __syncthreads();
    }
  }
}

// grad_tail: the inputs before a row met its first K-1 tokens, and may be in its new tail, too.
template <typename T, int K, int V>
__global__ void tail_backward(const recblr_causal_conv1d a) {
  const int64_t packs = a.width / V, past = a.taps - 1, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; work < a.n_rows * packs;
       work += step) {
    const int64_t row = work / packs, first = work % packs * V;
    const Row tokens = row_of(a, row);
    const int64_t length = tokens.end - tokens.begin;
    const Taps<K, V> taps(a, first);
    float grads[Taps<K, V>::kCapacity][V];  // of the first pre-activations
    const int met = static_cast<int>(length < past ? length : past);
    for (int u = 0; u < met; ++u) {
      activation_backward<T, K, V>(a, taps, {row, tokens.begin, tokens.end}, tokens.begin + u, first, grads[u],
                                   nullptr);
    }
    for (int slot = 0; slot < past; ++slot) {
      float grad[V] = {};
      for (int u = 0; u < met && u <= slot; ++u) {
        for (int v = 0; v < V; ++v) grad[v] = fmaf(taps.weight[slot - u][v], grads[u][v], grad[v]);
      }
      add_tail_gradient(a, row, length, slot - past, first, grad);
      store_pack(grad, a.grad_tail + (row * past + slot) * a.width + first);
    }
  }
}

// sums [K+1, H] to grad_weight [H, K] and grad_bias [H].
__global__ void spread_sums(const float* sums, int64_t taps, int64_t width, float* grad_weight, float* grad_bias) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < (taps + 1) * width; at += step) {
    const int64_t k = at / width, c = at % width;
    if (k == taps) {
      grad_bias[c] = sums[at];
    } else {
      grad_weight[c * taps + k] = sums[at];
    }
  }
}

template <typename T, int K, int V>
int backward_with(const recblr_causal_conv1d& a, float* workspace, void* stream) {
  constexpr int kThreads = kLanes * kTokenLanes;
  const char* const what = "causal convolution, backward";
  const int64_t channel_blocks = divide_up(a.width, kLanes * V), n_token_blocks = token_blocks(a.n_tokens);
  const size_t floats = (kTile + static_cast<size_t>(a.taps) - 1) * kLanes * V;
  int status = launch(what, convolve_backward<T, K, V>, channel_blocks * n_token_blocks, dim3(kLanes, kTokenLanes),
                      floats * sizeof(float), stream, a, channel_blocks, n_token_blocks, workspace);
  if (status != RECBLR_OK) return status;
  if (a.n_rows > 0 && a.taps > 1) {
    status = launch(what, tail_backward<T, K, V>, divide_up(a.n_rows * (a.width / V), kThreads), dim3(kThreads), 0,
                    stream, a);
    if (status != RECBLR_OK) return status;
  }
  const int64_t width = (a.taps + 1) * a.width;
  float* const scratch = workspace + n_token_blocks * width;
  float* const total = scratch + sum_rows_scratch(n_token_blocks, width);
  status = sum_rows(workspace, n_token_blocks, width, scratch, total, stream);
  if (status != RECBLR_OK) return status;
  return launch(what, spread_sums, divide_up(width, kThreads), dim3(kThreads), 0, stream, total, a.taps, a.width,
                a.grad_weight, a.grad_bias);
}

template <typename T>
int backward(const recblr_causal_conv1d& a, float* workspace, void* stream) {
  const bool fits = a.width % kPack == 0 && fits_pack<T>(a.x, stride_or(a.x_stride, a.width), kPack) &&
                    fits_pack<T>(a.grad_y, 0, kPack) && fits_pack<T>(a.grad_x, 0, kPack) &&
                    fits_pack<float>(a.tail, 0, kPack) && fits_pack<float>(a.grad_tail, 0, kPack);
  if (!fits) return backward_with<T, 0, 1>(a, workspace, stream);
  return with_taps(a.taps,
                   [&](auto taps) { return backward_with<T, decltype(taps)::value, kPack>(a, workspace, stream); });
}

}  // namespace
}  // namespace cuda
}  // namespace recblr

extern "C" int64_t recblr_causal_conv1d_workspace_cuda(const recblr_causal_conv1d* a) {
  using namespace recblr::cuda;
  const int64_t blocks = token_blocks(a->n_tokens), width = (a->taps + 1) * a->width;
  return (blocks * width + sum_rows_scratch(blocks, width) + width) * static_cast<int64_t>(sizeof(float));
}

extern "C" int recblr_causal_conv1d_backward_cuda(const recblr_causal_conv1d* arguments, void* workspace,
                                                  void* stream) {
  using namespace recblr;
  using namespace recblr::cuda;
  return guarded(kOutOfHostMemory, [&] {
    const recblr_causal_conv1d& a = checked_on_device(arguments);
    const int status = check_most_taps(a.taps);
    if (status != RECBLR_OK) return status;
    float* const sums = static_cast<float*>(workspace);
    return with_type(a.dtype, [&](auto type) { return backward<decltype(type)>(a, sums, stream); });
  });
}
