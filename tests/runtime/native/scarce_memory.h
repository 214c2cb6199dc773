// Memory that ends: with scarce_memory.cpp among a program's sources, its operator new fails when it is told to.
#pragma once

#include <atomic>
#include <cstdint>

namespace recblr::tests {

extern std::atomic<int64_t> allocations;       // so far
extern std::atomic<int64_t> allocations_left;  // until one fails; negative: none does

}  // namespace recblr::tests
