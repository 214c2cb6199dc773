// After the first runs, a run takes no memory from the heap: every operator new is counted here.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "backends/catalogue.h"
#include "backends/native.h"
#include "backends/random_model.h"

namespace {

std::atomic<int64_t> allocations{0};

void* counted(size_t bytes, size_t alignment) {
  ++allocations;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

[[gnu::noinline]] void* operator new(size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace recblr::testing {
namespace {

class Allocations : public ::testing::TestWithParam<std::tuple<int64_t, int>> {};

TEST_P(Allocations, AreNoneAfterWarmUp) {
  const auto [n_items, threads] = GetParam();
  Generator generator(1);
  const RandomModel model(generator, n_items, 16, 20, 24, 4, 2);
  const NativeBackend backend(model.weights, threads);
  const Catalogue catalogue(model.weights.embedding, n_items, 16, model.state_size(), threads);
  Batch batch = random_batch(generator, model, 40);
  const std::vector<int32_t> shared = some_items(generator, n_items, n_items / 3);
  for (size_t row = 0; row < batch.data.size(); ++row) {
    batch.data[row].k = static_cast<int64_t>(row % 30);
    batch.data[row].exclude = some_items(generator, n_items, 50);
    if (row % 5 == 1) batch.data[row].only = shared;
    if (row % 5 == 2) batch.data[row].only = some_items(generator, n_items, 30);
  }
  const std::vector<Row> rows = batch.rows();
  const auto run = [&] {
    for (const int64_t n_rows : {40, 1, 3, 17}) {
      backend.run(rows.data(), n_rows);
      catalogue.rank(rows.data(), n_rows);
    }
  };
  run();
  const int64_t before = allocations;
  ASSERT_GT(before, 0);
  for (int round = 0; round < 3; ++round) run();
  EXPECT_EQ(allocations - before, 0);
}

INSTANTIATE_TEST_SUITE_P(Catalogues, Allocations,
                         ::testing::Combine(::testing::Values(300, 3000, 20000), ::testing::Values(1, 3)));

}  // namespace
}  // namespace recblr::testing
