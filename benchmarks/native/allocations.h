// Counts what is taken from the heap.
#pragma once

#include <cstdint>

namespace recblr::benchmarks {

// How often `operator new` was called so far.
int64_t allocations();

}  // namespace recblr::benchmarks
