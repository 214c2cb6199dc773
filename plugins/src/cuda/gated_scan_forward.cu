// The gated scan, forward, on the GPU.
#include "cuda/scan_shape.h"
#include "cuda/segment.h"

namespace recblr {
namespace cuda {
namespace {

// A thread takes V channels of one row from beginning to end; the next segment is on its way while one is computed.
template <typename T, int V>
__global__ void __launch_bounds__(kRowThreads) scan_rows_in_threads(const recblr_gated_scan a) {
  const int64_t packs = a.width / V, n_work = a.n_rows * packs;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; work < n_work; work += step) {
    const int64_t row = work / packs, first = work % packs * V;
    const Row tokens = row_of(a, row);
    const ScanData<T> data = scan_data<T>(a, first);
    T* y = static_cast<T*>(a.y) + first;
    int64_t segment = first_segment(tokens.begin, row);
    float rate[V], h[V];
    load_rates(a.decay + first, rate);
    load_floats(a.h0 + row * a.width + first, h);
    SegmentInputs<T, V> inputs, next;
    OutputGates<T, V> gates, next_gates;
    const auto load_next = [&](int64_t begin) {
      const int count = tokens_of_segment(begin, tokens.end);
      load_segment(data, begin, count, &next);
      if (!a.last_only) load_output_gates(data, begin, count, &next_gates);
    };
    load_next(tokens.begin);
    for (int64_t begin = tokens.begin; begin < tokens.end; begin += kSegment) {
      const int count = tokens_of_segment(begin, tokens.end);
      inputs = next;
      gates = next_gates;
      load_next(begin + kSegment);
      if (a.segment_h != nullptr) store_pack(h, a.segment_h + segment++ * a.width + first);
      float product[V], drive[V];
#pragma unroll
      for (int v = 0; v < V; ++v) product[v] = 1.0f, drive[v] = 0.0f;
#pragma unroll
      for (int s = 0; s < kSegment; ++s) {
        if (s < count) {
          advance(inputs, s, rate, product, drive);
          if (!a.last_only) write_output(gates.z[s], h, product, drive, y + (begin + s) * a.width);
        }
      }
#pragma unroll
      for (int v = 0; v < V; ++v) h[v] = fmaf(product[v], h[v], drive[v]);
    }
    store_pack(h, a.last_h + row * a.width + first);
    if (a.segment_h != nullptr && segment < first_segment(tokens.end, row + 1)) {
      store_pack(h, a.segment_h + segment * a.width + first);
    }
    if (a.last_only) {
      float out[V];
      load_floats(data.z + row * data.z_stride, out);
#pragma unroll
      for (int v = 0; v < V; ++v) out[v] = silu(out[v]) * h[v];
      store_pack(out, y + row * a.width);
    }
  }
}

// A block takes a row, `blockDim.y` segments at a time. Every thread scans its own segment from nothing; then the first
// threads, one per channel, carry the state from segment to segment; then every thread completes its tokens.
template <typename T, int V>
__global__ void __launch_bounds__(kMostThreads) scan_rows_in_blocks(const recblr_gated_scan a, int64_t channel_blocks) {
  RECBLR_SHARED_FLOATS(shared);
  const int lanes = blockDim.x, segments = blockDim.y, channels = lanes * V, threads = lanes * segments;
  const int thread = threadIdx.y * lanes + threadIdx.x;
  float* const products_of = shared;                        // [segments, channels]; then h before each segment
  float* const drives_of = shared + segments * channels;    // [segments, channels]
  float* const carried = shared + 2 * segments * channels;  // [channels]
  const int own = threadIdx.y * channels + threadIdx.x * V;
  for (int64_t work = blockIdx.x; work < a.n_rows * channel_blocks; work += gridDim.x) {
    const int64_t row = work / channel_blocks, block_first = work % channel_blocks * channels;
    const int64_t first = block_first + threadIdx.x * V;
    const bool has_channels = first < a.width;
    const Row tokens = row_of(a, row);
    const ScanData<T> data = scan_data<T>(a, first);
    const int64_t row_segment = first_segment(tokens.begin, row);
    float rate[V] = {};
    if (has_channels && tokens.begin < tokens.end) load_rates(a.decay + first, rate);
    for (int c = thread; c < channels; c += threads) {
      if (block_first + c < a.width) carried[c] = a.h0[row * a.width + block_first + c];
    }
    for (int64_t tile = tokens.begin; tile < tokens.end; tile += segments * kSegment) {
      const int64_t begin = tile + threadIdx.y * kSegment;
      const int count = has_channels ? tokens_of_segment(begin, tokens.end) : 0;
      SegmentInputs<T, V> inputs;
      OutputGates<T, V> gates;
      load_segment(data, begin, count, &inputs);
      float products[kSegment][V], drives[kSegment][V];  // of the tokens up to each
      float product[V], drive[V];
#pragma unroll
      for (int v = 0; v < V; ++v) product[v] = 1.0f, drive[v] = 0.0f;
#pragma unroll
      for (int s = 0; s < kSegment; ++s) {
        if (s < count) advance(inputs, s, rate, product, drive);
#pragma unroll
        for (int v = 0; v < V; ++v) products[s][v] = product[v], drives[s][v] = drive[v];
      }
      store_pack(product, products_of + own);
      store_pack(drive, drives_of + own);
      if (!a.last_only) load_output_gates(data, begin, count, &gates);  // they arrive while the state is carried
      __syncthreads();
      for (int c = thread; c < channels; c += threads) {
        float h = carried[c];
#pragma unroll 8
        for (int s = 0; s < segments; ++s) {
          const float before = h;
          h = fmaf(products_of[s * channels + c], h, drives_of[s * channels + c]);
          products_of[s * channels + c] = before;
        }
        carried[c] = h;
      }
      __syncthreads();
      if (count > 0) {
        float before[V];
        load_floats(products_of + own, before);
        if (a.segment_h != nullptr) {
          const int64_t segment = row_segment + (begin - tokens.begin) / kSegment;
          store_pack(before, a.segment_h + segment * a.width + first);
        }
        if (!a.last_only) {
          T* const y = static_cast<T*>(a.y) + begin * a.width + first;
#pragma unroll
          for (int s = 0; s < kSegment; ++s) {
            if (s < count) write_output(gates.z[s], before, products[s], drives[s], y + s * a.width);
          }
        }
      }
    }
    // Each by the thread that carried the channel.
    const int64_t row_segments = divide_up(tokens.end - tokens.begin, kSegment);
    const bool gap = row_segment + row_segments < first_segment(tokens.end, row + 1);
    for (int c = thread; c < channels; c += threads) {
      const int64_t channel = block_first + c;
      if (channel >= a.width) continue;
      const float h = carried[c];
      a.last_h[row * a.width + channel] = h;
      if (a.segment_h != nullptr && gap) a.segment_h[(row_segment + row_segments) * a.width + channel] = h;
      if (a.last_only) {
        const int64_t at = row * stride_or(a.z_stride, a.width) + channel;
        store(silu(load(static_cast<const T*>(a.z)[at])) * h, static_cast<T*>(a.y) + row * a.width + channel);
      }
    }
  }
}

template <typename T, int V>
int scan_with_blocks(const recblr_gated_scan& a, void* stream) {
  const BlockShape shape = block_shape(a, V);
  const size_t floats = (2 * static_cast<size_t>(shape.segments) + 1) * shape.lanes * V;
  return launch("gated scan", scan_rows_in_blocks<T, V>, a.n_rows * shape.channel_blocks,
                dim3(shape.lanes, shape.segments), floats * sizeof(float), stream, a, shape.channel_blocks);
}

template <typename T, int V>
int scan_with_threads(const recblr_gated_scan& a, void* stream) {
  return launch("gated scan", scan_rows_in_threads<T, V>, divide_up(a.n_rows * (a.width / V), kRowThreads),
                dim3(kRowThreads), 0, stream, a);
}

template <typename T>
int scan(const recblr_gated_scan& a, void* stream) {
  constexpr int kWhole = 16 / sizeof(T), kBlocks = 4;  // channels of a thread
  const auto fits = [&a](int v) {
    return a.width % v == 0 && fits_pack<T>(a.x, stride_or(a.x_stride, a.width), v) &&
           fits_pack<T>(a.gates, stride_or(a.gates_stride, 2 * a.width), v) &&
           fits_pack<T>(a.z, stride_or(a.z_stride, a.width), v) && fits_pack<T>(a.y, a.width, v) &&
           fits_pack<float>(a.decay, 0, 4) && fits_pack<float>(a.h0, 0, 4) && fits_pack<float>(a.last_h, 0, 4) &&
           fits_pack<float>(a.segment_h, 0, 4);
  };
  if (rows_in_threads(a, kWhole)) {
    return fits(kWhole) ? scan_with_threads<T, kWhole>(a, stream) : scan_with_threads<T, 1>(a, stream);
  }
  return fits(kBlocks) ? scan_with_blocks<T, kBlocks>(a, stream) : scan_with_blocks<T, 1>(a, stream);
}

}  // namespace
}  // namespace cuda
}  // namespace recblr

extern "C" int recblr_gated_scan_forward_cuda(const recblr_gated_scan* arguments, void* stream) {
  using namespace recblr;
  using namespace recblr::cuda;
  return guarded(kOutOfHostMemory, [&] {
    const recblr_gated_scan& a = checked_on_device(arguments);
    if (a.n_rows == 0) return RECBLR_OK;
    return with_type(a.dtype, [&](auto type) { return scan<decltype(type)>(a, stream); });
  });
}
