#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // GCC does not see that `new` here is malloc
#endif
#include "scarce_memory.h"

#include <cstdlib>
#include <new>

namespace recblr::tests {

std::atomic<int64_t> allocations{0};
std::atomic<int64_t> allocations_left{-1};

}  // namespace recblr::tests

namespace {

void* allocate(size_t size) {
  using recblr::tests::allocations_left;
  ++recblr::tests::allocations;
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
