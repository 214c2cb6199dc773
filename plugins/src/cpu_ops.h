// The forward passes on the CPU, in threads of the caller's.
#pragma once

#include <cstddef>

#include "recblr/plugins.h"

namespace recblr {

// Calls task(data, 0) to task(data, n - 1) in any threads, and returns when all are done. The tasks share one piece of
// work: any one of them finishes it, so that a pool may call fewer.
struct ThreadPool {
  void (*run)(const void* pool, size_t n, void (*task)(void* data, size_t index), void* data);
  const void* pool;
};

// As the functions of the C ABI: small batches are done in the calling thread, others as at most n_threads tasks.
int gated_scan_forward(const recblr_gated_scan& arguments, const ThreadPool& threads) noexcept;
int causal_conv1d_forward(const recblr_causal_conv1d& arguments, const ThreadPool& threads) noexcept;

}  // namespace recblr
