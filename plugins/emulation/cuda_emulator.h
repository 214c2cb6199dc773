// Runs CUDA kernels on the CPU, so that tests execute the very code that runs on GPUs: a block's threads are fibers
// that meet at __syncthreads. Between two barriers they run in a random order, and shared memory begins as NaN, so that
// a missing barrier or an element read before it is written shows as a wrong result.
//
// What it has is what the kernels use. Host memory stands for device memory; a launch returns when the kernel is done.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using cudaError_t = int;
using cudaStream_t = void*;
constexpr cudaError_t cudaSuccess = 0;

namespace cuda_emulator {

// Of the fiber that runs.
struct Place {
  dim3 thread, block, threads, blocks;
};
extern thread_local Place place;

float* shared_floats();
void wait_at_barrier();

// Runs body() for every thread of every block; blocks one after another.
void run(dim3 grid, dim3 threads, size_t shared_bytes, const std::function<void()>& body);

template <typename... Parameters, size_t... Index>
void run_kernel(void (*kernel)(Parameters...), void** arguments, dim3 grid, dim3 threads, size_t shared_bytes,
                std::index_sequence<Index...>) {
  run(grid, threads, shared_bytes, [&] { kernel(*static_cast<std::decay_t<Parameters>*>(arguments[Index])...); });
}

}  // namespace cuda_emulator

#define threadIdx (cuda_emulator::place.thread)
#define blockIdx (cuda_emulator::place.block)
#define blockDim (cuda_emulator::place.threads)
#define gridDim (cuda_emulator::place.blocks)

inline void __syncthreads() { cuda_emulator::wait_at_barrier(); }

template <typename... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 threads, void** arguments,
                             size_t shared_bytes, cudaStream_t) {
  cuda_emulator::run_kernel(kernel, arguments, grid, threads, shared_bytes, std::index_sequence_for<Parameters...>());
  return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
