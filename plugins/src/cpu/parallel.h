// Shares units of work among threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace recblr {

// Calls task(data, 0) to task(data, n - 1) in any threads, and returns when all are done. The tasks share one piece of
// work: any one of them finishes it, so that a pool may call fewer.
struct ThreadPool {
  void (*run)(const void* pool, size_t n, void (*task)(void* data, size_t index), void* data);
  const void* pool;
};

// The threads of a caller that brings none: those of the process's OpenMP runtime, or new ones.
extern const ThreadPool kProcessThreads;

// Threads worth having for so many units of, together, so many elements: at most `wanted`, at least 1.
int64_t useful_threads(int64_t wanted, int64_t units, int64_t elements);

// As in_parallel, which is easier to call.
void share_units(int64_t units, int64_t threads, void (*unit)(const void* data, int64_t index, int64_t worker),
                 const void* data, const ThreadPool& pool);

// Calls unit(index, worker) for every index below `units`, in at most `threads` threads; whoever is free takes the
// next. Workers are numbered from 0, below `threads`. Rethrows what a unit threw first; others may then be left out.
template <typename Unit>
void in_parallel(int64_t units, int64_t threads, const Unit& unit, const ThreadPool& pool = kProcessThreads) {
  const auto call = [](const void* data, int64_t index, int64_t worker) {
    (*static_cast<const Unit*>(data))(index, worker);
  };
  share_units(units, threads, call, &unit, pool);
}

}  // namespace recblr
