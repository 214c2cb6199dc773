// Sums over rows in a fixed order.
#pragma once

#include "cuda/platform.h"

namespace recblr {
namespace cuda {

constexpr int kSumLanes = 32, kSumRows = 8;
constexpr int64_t kMostPartialSums = 64, kRowsPerPartialSum = 64;

inline int64_t partial_sums(int64_t n_rows) {
  const int64_t wanted = divide_up(n_rows, kRowsPerPartialSum);
  return wanted < 1 ? 1 : wanted > kMostPartialSums ? kMostPartialSums : wanted;
}

// Sums of rows [n_rows, width], a part of the rows per part of the result [parts, width]. Block: kSumLanes x kSumRows.
static __global__ void __launch_bounds__(kSumLanes* kSumRows)
    sum_rows_kernel(const float* rows, int64_t n_rows, int64_t width, int64_t parts, float* sums) {
  RECBLR_SHARED_FLOATS(shared);  // [kSumRows, kSumLanes]
  const int64_t column_blocks = divide_up(width, kSumLanes), part_rows = divide_up(n_rows, parts);
  for (int64_t work = blockIdx.x; work < column_blocks * parts; work += gridDim.x) {
    const int64_t part = work / column_blocks, column = work % column_blocks * kSumLanes + threadIdx.x;
    const int64_t from = part * part_rows, to = from + part_rows < n_rows ? from + part_rows : n_rows;
    float sum = 0.0f;
    if (column < width) {
      for (int64_t row = from + threadIdx.y; row < to; row += kSumRows) sum += rows[row * width + column];
    }
    shared[threadIdx.y * kSumLanes + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
      for (int y = 1; y < kSumRows; ++y) sum += shared[y * kSumLanes + threadIdx.x];
      sums[part * width + column] = sum;
    }
    __syncthreads();
  }
}

// Floats of scratch that sum_rows needs behind the rows.
inline int64_t sum_rows_scratch(int64_t n_rows, int64_t width) { return partial_sums(n_rows) * width; }

// Enqueues sum [width] of rows [n_rows, width], by way of scratch.
inline int sum_rows(const float* rows, int64_t n_rows, int64_t width, float* scratch, float* sum, void* stream) {
  const int64_t parts = partial_sums(n_rows), column_blocks = divide_up(width, kSumLanes);
  const dim3 threads(kSumLanes, kSumRows);
  const size_t shared_bytes = kSumLanes * kSumRows * sizeof(float);
  float* const partial = parts == 1 ? sum : scratch;
  int status = launch("sum", sum_rows_kernel, column_blocks * parts, threads, shared_bytes, stream, rows, n_rows, width,
                      parts, partial);
  if (status != RECBLR_OK || parts == 1) return status;
  return launch("sum", sum_rows_kernel, column_blocks, threads, shared_bytes, stream, partial, parts, width, 1, sum);
}

}  // namespace cuda
}  // namespace recblr
