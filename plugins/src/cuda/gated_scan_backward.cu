// The gated scan, backward, on the GPU. Saved by the forward pass: its inputs, and h before every segment; gates and
// the h between are computed again.
#include "cuda/scan_shape.h"
#include "cuda/segment.h"
#include "cuda/sum_rows.h"

namespace recblr {
namespace cuda {
namespace {

// The gradient of a row's last h.
template <typename T>
__device__ inline float last_gradient(const recblr_gated_scan& a, int64_t row, int64_t channel) {
  float grad = a.grad_last_h[row * a.width + channel];
  if (a.last_only) {
    const float z = load(static_cast<const T*>(a.z)[row * stride_or(a.z_stride, a.width) + channel]);
    grad += load(static_cast<const T*>(a.grad_y)[row * a.width + channel]) * silu(z);
  }
  return grad;
}

// The gradient of z at a row's last position, where that alone has one.
template <typename T, int V>
__device__ inline void last_z_backward(const recblr_gated_scan& a, const ScanData<T>& data, int64_t row, int64_t first,
                                       const float (&last)[V]) {
  const int64_t at = row * a.width + first;
  float ignored[V];  // last_gradient has it
  output_gate_backward(data.z + row * data.z_stride, static_cast<const T*>(a.grad_y) + at, last,
                       static_cast<T*>(a.grad_z) + at, ignored);
}

// grad_rates: [B, H], each row's gradient of the rate.
template <typename T, int V>
__global__ void __launch_bounds__(kRowThreads)
    scan_rows_in_threads_backward(const recblr_gated_scan a, float* grad_rates) {
  const int64_t packs = a.width / V, n_work = a.n_rows * packs;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; work < n_work; work += step) {
    const int64_t row = work / packs, first = work % packs * V;
    const Row tokens = row_of(a, row);
    const ScanData<T> data = scan_data<T>(a, first);
    const int64_t segments = divide_up(tokens.end - tokens.begin, kSegment);
    float rate[V], later[V], grad_rate[V];
    load_rates(a.decay + first, rate);
    for (int v = 0; v < V; ++v) {
      later[v] = last_gradient<T>(a, row, first + v);
      grad_rate[v] = 0.0f;
    }
    for (int64_t segment = segments - 1; segment >= 0; --segment) {
      const int64_t begin = tokens.begin + segment * kSegment;
      const int count = tokens_of_segment(begin, tokens.end);
      const int64_t place = first_segment(tokens.begin, row) + segment;
      SegmentGradients<V> kept;
      float last[V];
      backward_segment(a, data, first, begin, count, rate, a.segment_h + place * a.width + first, &kept, last);
      if (a.last_only && segment == segments - 1) last_z_backward(a, data, row, first, last);
      finish_backward_segment<T>(a, first, begin, count, rate, later, kept, grad_rate);
#pragma unroll
      for (int v = 0; v < V; ++v) later[v] = fmaf(kept.whole_product[v], later[v], kept.whole_grad[v]);
    }
    if (a.last_only && segments == 0) {
      float last[V];
      load_floats(a.h0 + row * a.width + first, last);
      last_z_backward(a, data, row, first, last);
    }
    store_pack(later, a.grad_h0 + row * a.width + first);
    store_pack(grad_rate, grad_rates + row * a.width + first);
  }
}

// As in the forward pass, from the row's end.
template <typename T, int V>
__global__ void __launch_bounds__(kMostThreads)
    scan_rows_in_blocks_backward(const recblr_gated_scan a, int64_t channel_blocks, float* grad_rates) {
  RECBLR_SHARED_FLOATS(shared);
  const int lanes = blockDim.x, segments = blockDim.y, channels = lanes * V, threads = lanes * segments;
  const int thread = threadIdx.y * lanes + threadIdx.x;
  float* const products_of = shared;                        // [segments, channels]; then the gradient behind each
  float* const grads_of = shared + segments * channels;     // [segments, channels]; at the end of the rate
  float* const carried = shared + 2 * segments * channels;  // [channels]
  const int own = threadIdx.y * channels + threadIdx.x * V;
  for (int64_t work = blockIdx.x; work < a.n_rows * channel_blocks; work += gridDim.x) {
    const int64_t row = work / channel_blocks, block_first = work % channel_blocks * channels;
    const int64_t first = block_first + threadIdx.x * V;
    const bool has_channels = first < a.width;
    const Row tokens = row_of(a, row);
    const ScanData<T> data = scan_data<T>(a, first);
    float rate[V] = {}, grad_rate[V] = {};
    if (has_channels) load_rates(a.decay + first, rate);
    for (int c = thread; c < channels; c += threads) {
      if (block_first + c < a.width) carried[c] = last_gradient<T>(a, row, block_first + c);
    }
    const int64_t tile_tokens = segments * kSegment;
    for (int64_t tile = divide_up(tokens.end - tokens.begin, tile_tokens) - 1; tile >= 0; --tile) {
      const int64_t begin = tokens.begin + tile * tile_tokens + threadIdx.y * kSegment;
      const int count = has_channels ? tokens_of_segment(begin, tokens.end) : 0;
      const int64_t place = first_segment(tokens.begin, row) + (begin - tokens.begin) / kSegment;
      SegmentGradients<V> kept;
      if (count > 0) {
        float last[V];
        backward_segment(a, data, first, begin, count, rate, a.segment_h + place * a.width + first, &kept, last);
        if (a.last_only && begin + count == tokens.end) last_z_backward(a, data, row, first, last);
      } else {
#pragma unroll
        for (int v = 0; v < V; ++v) kept.whole_product[v] = 1.0f, kept.whole_grad[v] = 0.0f;
      }
      store_pack(kept.whole_product, products_of + own);
      store_pack(kept.whole_grad, grads_of + own);
      __syncthreads();
      for (int c = thread; c < channels; c += threads) {
        float grad = carried[c];
#pragma unroll 8
        for (int s = segments - 1; s >= 0; --s) {
          const float behind = grad;
          grad = fmaf(products_of[s * channels + c], grad, grads_of[s * channels + c]);
          products_of[s * channels + c] = behind;
        }
        carried[c] = grad;
      }
      __syncthreads();
      if (count > 0) {
        float later[V];
        load_floats(products_of + own, later);
        finish_backward_segment<T>(a, first, begin, count, rate, later, kept, grad_rate);
      }
    }
    if (a.last_only && tokens.begin == tokens.end && threadIdx.y == 0 && has_channels) {
      float last[V];
      load_floats(a.h0 + row * a.width + first, last);
      last_z_backward(a, data, row, first, last);
    }
    store_pack(grad_rate, grads_of + own);
    __syncthreads();
    for (int c = thread; c < channels; c += threads) {
      float sum = 0.0f;
      for (int s = 0; s < segments; ++s) sum += grads_of[s * channels + c];
      if (block_first + c < a.width) {
        grad_rates[row * a.width + block_first + c] = sum;
        a.grad_h0[row * a.width + block_first + c] = carried[c];
      }
    }
    __syncthreads();  // before the next row's segments go where these were
  }
}

// grad_decay, which holds the gradient of softplus(decay), becomes that of decay.
__global__ void softplus_backward(const float* decay, int64_t width, float* grad_decay) {
  for (int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; c < width;
       c += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    grad_decay[c] *= sigmoid(decay[c]);
  }
}

template <typename T, int V>
int backward_with(const recblr_gated_scan& a, float* grad_rates, void* stream) {
  if (rows_in_threads(a, V)) {
    return launch("gated scan, backward", scan_rows_in_threads_backward<T, V>,
                  divide_up(a.n_rows * (a.width / V), kRowThreads), dim3(kRowThreads), 0, stream, a, grad_rates);
  }
  const BlockShape shape = block_shape(a, V);
  const size_t floats = (2 * static_cast<size_t>(shape.segments) + 1) * shape.lanes * V;
  return launch("gated scan, backward", scan_rows_in_blocks_backward<T, V>, a.n_rows * shape.channel_blocks,
                dim3(shape.lanes, shape.segments), floats * sizeof(float), stream, a, shape.channel_blocks, grad_rates);
}

template <typename T>
int backward(const recblr_gated_scan& a, float* workspace, void* stream) {
  constexpr int kPack = 2;  // more channels a thread, and what it keeps would not fit into registers
  const bool fits = a.width % kPack == 0 && fits_pack<T>(a.x, stride_or(a.x_stride, a.width), kPack) &&
                    fits_pack<T>(a.gates, stride_or(a.gates_stride, 2 * a.width), kPack) &&
                    fits_pack<T>(a.z, stride_or(a.z_stride, a.width), kPack) && fits_pack<T>(a.grad_y, 0, kPack) &&
                    fits_pack<T>(a.grad_x, 0, kPack) && fits_pack<T>(a.grad_gates, 0, kPack) &&
                    fits_pack<T>(a.grad_z, 0, kPack) && fits_pack<float>(a.decay, 0, kPack) &&
                    fits_pack<float>(a.h0, 0, kPack) && fits_pack<float>(a.segment_h, 0, kPack) &&
                    fits_pack<float>(a.grad_h0, 0, kPack);
  const int status = fits ? backward_with<T, kPack>(a, workspace, stream) : backward_with<T, 1>(a, workspace, stream);
  if (status != RECBLR_OK) return status;
  return sum_rows(workspace, a.n_rows, a.width, workspace + a.n_rows * a.width, a.grad_decay, stream);
}

}  // namespace
}  // namespace cuda
}  // namespace recblr

extern "C" int64_t recblr_gated_scan_workspace_cuda(const recblr_gated_scan* a) {
  const int64_t floats = a->n_rows * a->width + recblr::cuda::sum_rows_scratch(a->n_rows, a->width);
  return floats * static_cast<int64_t>(sizeof(float));
}

extern "C" int recblr_gated_scan_backward_cuda(const recblr_gated_scan* arguments, void* workspace, void* stream) {
  using namespace recblr;
  using namespace recblr::cuda;
  return guarded(kOutOfHostMemory, [&] {
    const recblr_gated_scan& a = checked_on_device(arguments);
    float* const sums = static_cast<float*>(workspace);
    int status;
    if (a.n_rows == 0) {
      status = sum_rows(sums, 0, a.width, sums, a.grad_decay, stream);
    } else {
      status = with_type(a.dtype, [&](auto type) { return backward<decltype(type)>(a, sums, stream); });
    }
    if (status != RECBLR_OK) return status;
    return launch("gated scan, backward", softplus_backward, divide_up(a.width, kRowThreads), dim3(kRowThreads), 0,
                  stream, a.decay, a.width, a.grad_decay);
  });
}
