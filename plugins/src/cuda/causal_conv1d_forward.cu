// The causal convolution, forward, on the GPU: every token by itself, the inputs it shares with its neighbours from the
// first-level cache.
#include <type_traits>

#include "cuda/window.h"

namespace recblr {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kStrip = 8;  // tokens of a thread: it looks for its row once

// Threads first take the strips of tokens, then the new tails: [B, K-1, H].
template <typename T, int K, int V>
__global__ void __launch_bounds__(kThreads) convolve_kernel(const recblr_causal_conv1d a) {
  const int64_t packs = a.width / V, strips = divide_up(a.n_tokens, kStrip), past = a.taps - 1;
  const int64_t n_work = (strips + a.n_rows * past) * packs, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; work < n_work; work += step) {
    const int64_t first = work % packs * V;
    if (work / packs >= strips) {
      const int64_t slot_of_all = work / packs - strips, row = slot_of_all / past, slot = slot_of_all % past;
      const Row tokens = row_of(a, row);
      float in[V];
      load_input<T, V>(a, row, tokens.begin, tokens.end - tokens.begin - past + slot, first, in);
      store_pack(in, a.new_tail + slot_of_all * a.width + first);
      continue;
    }
    const Taps<K, V> taps(a, first);
    const int64_t begin = work / packs * kStrip, end = begin + kStrip < a.n_tokens ? begin + kStrip : a.n_tokens;
    RowPlace place = place_of(a, begin);
    for (int64_t t = begin; t < end; ++t) {
      if (t >= place.end) place = place_of(a, t);
      float sum[V];
      convolve<T, K, V>(a, taps, place, t, first, sum, nullptr);
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] = silu(sum[v]);
      store_pack(sum, static_cast<T*>(a.y) + t * a.width + first);
    }
  }
}

template <typename T, int K, int V>
int convolve_with(const recblr_causal_conv1d& a, void* stream) {
  const int64_t work = (divide_up(a.n_tokens, kStrip) + a.n_rows * (a.taps - 1)) * (a.width / V);
  if (work == 0) return RECBLR_OK;
  return launch("causal convolution", convolve_kernel<T, K, V>, divide_up(work, kThreads), dim3(kThreads), 0, stream,
                a);
}

template <typename T>
int convolve_all(const recblr_causal_conv1d& a, void* stream) {
  constexpr int kPack = 16 / sizeof(T);
  const bool fits = a.width % kPack == 0 && fits_pack<T>(a.x, stride_or(a.x_stride, a.width), kPack) &&
                    fits_pack<T>(a.y, 0, kPack) && fits_pack<float>(a.tail, 0, 4) && fits_pack<float>(a.new_tail, 0, 4);
  if (!fits) return convolve_with<T, 0, 1>(a, stream);
  return with_taps(a.taps, [&](auto taps) { return convolve_with<T, decltype(taps)::value, kPack>(a, stream); });
}

}  // namespace
}  // namespace cuda
}  // namespace recblr

extern "C" int recblr_causal_conv1d_forward_cuda(const recblr_causal_conv1d* arguments, void* stream) {
  using namespace recblr;
  using namespace recblr::cuda;
  return guarded(kOutOfHostMemory, [&] {
    const recblr_causal_conv1d& a = checked_on_device(arguments);
    const int status = check_most_taps(a.taps);
    if (status != RECBLR_OK) return status;
    return with_type(a.dtype, [&](auto type) { return convolve_all<decltype(type)>(a, stream); });
  });
}
