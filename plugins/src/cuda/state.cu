// Whole user states between a pool and a batch, on the GPU.
#include "cuda/platform.h"

namespace recblr {
namespace cuda {
namespace {

constexpr int kThreads = 256;

template <int V>
__global__ void gather(const recblr_state_move a) {
  const int64_t packs = a.state_size / V, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; work < a.n_rows * packs;
       work += step) {
    const int64_t row = work / packs, first = work % packs * V, slot = int_at(a.slots, a.slots_type, row);
    float values[V] = {};
    if (slot >= a.n_slots) {
      for (int v = 0; v < V; ++v) values[v] = not_a_number();
    } else if (slot >= 0) {
      load_floats(a.pool + slot * a.state_size + first, values);
    } else if (a.initial != nullptr) {
      load_floats(a.initial + first, values);
    }
    store_pack(values, a.states + row * a.state_size + first);
  }
}

template <int V>
__global__ void scatter(const recblr_state_move a) {
  const int64_t packs = a.state_size / V, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; work < a.n_rows * packs;
       work += step) {
    const int64_t row = work / packs, first = work % packs * V, slot = int_at(a.slots, a.slots_type, row);
    if (slot < 0 || slot >= a.n_slots) continue;
    float values[V];
    load_floats(a.states + row * a.state_size + first, values);
    store_pack(values, a.pool + slot * a.state_size + first);
  }
}

int move(const recblr_state_move* arguments, const char* what, void (*by_four)(recblr_state_move),
         void (*by_one)(recblr_state_move), void* stream) noexcept {
  return guarded(kOutOfHostMemory, [&] {
    const recblr_state_move& a = checked_on_device(arguments);
    if (a.n_rows == 0) return RECBLR_OK;
    const bool fits = fits_pack<float>(a.pool, a.state_size, 4) && fits_pack<float>(a.states, 0, 4) &&
                      fits_pack<float>(a.initial, 0, 4);
    return launch(what, fits ? by_four : by_one, divide_up(a.n_rows * (a.state_size / (fits ? 4 : 1)), kThreads),
                  dim3(kThreads), 0, stream, a);
  });
}

}  // namespace
}  // namespace cuda
}  // namespace recblr

extern "C" int recblr_gather_state_cuda(const recblr_state_move* arguments, void* stream) {
  return recblr::cuda::move(arguments, "gather of states", recblr::cuda::gather<4>, recblr::cuda::gather<1>, stream);
}

extern "C" int recblr_scatter_state_cuda(const recblr_state_move* arguments, void* stream) {
  return recblr::cuda::move(arguments, "scatter of states", recblr::cuda::scatter<4>, recblr::cuda::scatter<1>, stream);
}
