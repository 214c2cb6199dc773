// Shares units of work among threads.
#pragma once

#include <cstdint>
#include <functional>

namespace recblr {

// Threads worth having for so many units of, together, so many elements: at most `wanted`, at least 1.
int64_t useful_threads(int64_t wanted, int64_t units, int64_t elements);

// Calls unit(index, worker) for every index below `units`, in at most `threads` threads; whoever is free takes the next.
// Workers are numbered from 0, below `threads`.
void in_parallel(int64_t units, int64_t threads, const std::function<void(int64_t, int64_t)>& unit);

}  // namespace recblr
