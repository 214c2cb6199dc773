// What the kernels need of the compiler and the runtime: nvcc with CUDA, or a host compiler with the emulator.
#pragma once

#include <cstdint>
#include <string>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
// Dynamic shared memory, 16-byte aligned.
#define RECBLR_SHARED_FLOATS(name) extern __shared__ __align__(16) float name[]
#define RECBLR_MOST_BLOCKS 0x7fffffff
#else
#include "cuda_emulator.h"
#define RECBLR_SCALAR_NAMESPACE emulated
#include "cpu/scalar_math.h"
#define RECBLR_SHARED_FLOATS(name) float* const name = cuda_emulator::shared_floats()
#define RECBLR_MOST_BLOCKS 5  // so few that tests see blocks take several pieces of work
#endif

#include "abi/arguments.h"
#include "abi/guarded.h"
#include "abi/ragged.h"

namespace recblr {
namespace cuda {

#if defined(__CUDACC__)
using Half = __half;
using BFloat16 = __nv_bfloat16;

__device__ inline float load(float value) { return value; }
__device__ inline float load(Half value) { return __half2float(value); }
__device__ inline float load(BFloat16 value) { return __bfloat162float(value); }
__device__ inline void store(float value, float* to) { *to = value; }
__device__ inline void store(float value, Half* to) { *to = __float2half_rn(value); }
__device__ inline void store(float value, BFloat16* to) { *to = __float2bfloat16_rn(value); }
__device__ inline float fast_exp(float x) { return __expf(x); }
__device__ inline float fast_reciprocal(float x) { return __fdividef(1.0f, x); }
__device__ inline float fast_rsqrt(float x) { return rsqrtf(x); }
__device__ inline float not_a_number() { return __int_as_float(0x7fc00000); }
#else
using emulated::BFloat16;
using emulated::Half;
using emulated::load;
using emulated::store;
inline float fast_exp(float x) { return emulated::exp_approximate(x); }
inline float fast_reciprocal(float x) { return 1.0f / x; }
inline float fast_rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline float not_a_number() { return emulated::bits_to_float(0x7fc00000u); }
#endif

constexpr int64_t kMostBlocks = RECBLR_MOST_BLOCKS;

// V neighbouring channels, read and written in one access, or in two where they are more than 16 bytes.
template <typename T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Pack {
  T at[V];
};

template <typename T, int V>
__device__ inline Pack<T, V> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, V>*>(from);
}

template <int V, typename T>
__device__ inline void store_pack(const float (&values)[V], T* to) {
  Pack<T, V> pack;
#pragma unroll
  for (int v = 0; v < V; ++v) store(values[v], &pack.at[v]);
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

template <int V, typename T>
__device__ inline void load_floats(const T* from, float (&values)[V]) {
  const Pack<T, V> pack = load_pack<T, V>(from);
#pragma unroll
  for (int v = 0; v < V; ++v) values[v] = load(pack.at[v]);
}

// What recblr_plugins_last_error says where a message about the arguments could not be made.
constexpr char kOutOfHostMemory[] = "out of host memory";

inline int cuda_failed(const char* what, cudaError_t error) {
  cudaGetLastError();  // or the next caller would take the error for its own
  return fail(RECBLR_CUDA_ERROR, std::string(what) + ": " + cudaGetErrorString(error));
}

template <typename T>
struct Identity {
  using Type = T;
};

// Enqueues a kernel; returns a status.
template <typename... Parameters>
int launch(const char* what, void (*kernel)(Parameters...), int64_t blocks, dim3 threads, size_t shared_bytes,
           void* stream, typename Identity<Parameters>::Type... arguments) {
  // Beyond the limit a block takes more than one piece of work.
  const dim3 grid(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks));
  void* pointers[] = {&arguments...};
  const cudaError_t error =
      cudaLaunchKernel(kernel, grid, threads, pointers, shared_bytes, static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? RECBLR_OK : cuda_failed(what, error);
}

RECBLR_HOST_DEVICE constexpr int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Whether V elements can be read at once from every token on.
template <typename T>
bool fits_pack(const void* pointer, int64_t stride, int v) {
  return reinterpret_cast<uintptr_t>(pointer) % (sizeof(T) * v) == 0 && stride % v == 0;
}

// Calls body(T()) with the data type. The type was checked before.
template <typename Body>
int with_type(int32_t dtype, const Body& body) {
  if (dtype == RECBLR_FLOAT16) return body(Half());
  if (dtype == RECBLR_BFLOAT16) return body(BFloat16());
  return body(0.0f);
}

}  // namespace cuda
}  // namespace recblr
