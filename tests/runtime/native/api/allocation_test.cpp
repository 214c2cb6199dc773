// After warm-up, an answer takes no memory from the heap.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "client.h"

// Sanitizers have their own malloc, which cannot be counted so.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define RECBLR_COUNTS_ALLOCATIONS true

namespace {
std::atomic<int64_t> allocations{0};
}

// operator new goes through malloc, too.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  ++allocations;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
}

#else
#define RECBLR_COUNTS_ALLOCATIONS false

namespace {
const int64_t allocations = 0;
}
#endif

namespace recblr::tests {
namespace {

// Allocations of `runs` more answers, after as many that warm up.
int64_t allocations_of(recblr_engine* engine, const recblr_request& request, recblr_result* result, int runs) {
  int64_t before = 0;
  for (int i = 0; i < 2 * runs; ++i) {
    if (i == runs) before = allocations;
    EXPECT_OK(recblr_recommend(engine, &request, result));
  }
  return allocations - before;
}

recblr_status run_constant(void*, const recblr_backend_run* run) {
  std::copy(run->state_in, run->state_in + run->n_rows * 16, run->state_out);
  std::fill_n(run->top_scores, run->n_rows * run->k, -std::numeric_limits<float>::infinity());
  for (int32_t b = 0; b < run->n_rows; ++b) {
    int64_t place = b * run->k;
    for (int32_t item = 1; item <= run->k; ++item) {
      const auto is_this = [=](const int32_t (&pair)[2]) { return pair[0] == b && pair[1] == item; };
      const auto* pairs = reinterpret_cast<const int32_t (*)[2]>(run->exclude);
      if (std::any_of(pairs, pairs + run->n_exclude, is_this)) continue;
      run->top_items[place] = item;
      run->top_scores[place++] = -static_cast<float>(item);
    }
  }
  return RECBLR_OK;
}

struct Case {
  std::string name;
  bool has_callback, has_batching, has_string_ids;
};

class AllocationTest : public ApiTest, public testing::WithParamInterface<Case> {};

TEST_P(AllocationTest, AnAnswerTakesNoMemoryAfterWarmUp) {
  if (!RECBLR_COUNTS_ALLOCATIONS) GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
  recblr_backend backend{};
  backend.struct_size = sizeof backend;
  backend.run = run_constant;
  backend.max_k = 6;
  recblr_batching batching{};
  batching.struct_size = sizeof batching;
  recblr_engine_options options{};
  options.struct_size = sizeof options;
  options.threads = 1;
  options.backend = GetParam().has_callback ? &backend : nullptr;
  options.batching = GetParam().has_batching ? &batching : nullptr;
  TinyBundle tiny;
  tiny.has_string_ids = GetParam().has_string_ids;
  open(tiny, &options);

  const IdRows integers(Integers{{20, 30, 777}, {}, {60}}), strings(Strings{{"item-2", "x"}, {}, {"item-6"}});
  recblr_request request = request_for(tiny.has_string_ids ? strings : integers);
  const recblr_strangers stranger{0, 1, 0, "None", "NoneType", nullptr};
  request.items.strangers = &stranger;
  request.items.n_strangers = 1;
  std::vector<float> states(48, 0.5F), new_states(48);
  EXPECT_EQ(allocations_of(engine_, request, result_, 5), 0);
  request.states = states.data();
  request.new_states = new_states.data();
  request.exclude_seen = 1;
  const IdRows excluded(Integers{{10}, {40, 10}, {}}), only(Integers{{10, 20, 30, 60}});
  const recblr_ids exclude_ids = excluded.c(), only_ids = only.c();
  request.exclude = &exclude_ids;
  EXPECT_EQ(allocations_of(engine_, request, result_, 5), 0);
  if (GetParam().has_callback) return;  // allow-lists are the catalogue's
  request.n_only = 1;
  request.only_ids = &only_ids;
  EXPECT_EQ(allocations_of(engine_, request, result_, 5), 0);
  recblr_allow_list* list;
  ASSERT_OK(recblr_allow_list_create(&only_ids, &list));
  request.only_lists = &list;
  EXPECT_EQ(allocations_of(engine_, request, result_, 5), 0);
  recblr_allow_list_free(list);
}

INSTANTIATE_TEST_SUITE_P(Engines, AllocationTest,
                         testing::Values(Case{"Native", false, false, false}, Case{"Strings", false, false, true},
                                         Case{"Callback", true, false, false}, Case{"Batching", false, true, false},
                                         Case{"BatchingCallback", true, true, true}),
                         [](const auto& info) { return info.param.name; });

TEST(CountingTest, SeesAllocations) {
  if (!RECBLR_COUNTS_ALLOCATIONS) GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
  const int64_t before = allocations;
  const auto numbers = std::make_unique<std::vector<int>>(100);
  numbers->reserve(200);
  EXPECT_EQ(allocations, before + 3);
}

}  // namespace
}  // namespace recblr::tests
