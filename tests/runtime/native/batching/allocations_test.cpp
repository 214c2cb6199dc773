// What a request takes from the heap: nothing, after warm-up; and what becomes of one where there is none.
#include <gtest/gtest.h>

#include <new>

#include "batching/batcher.h"
#include "batching/direct.h"
#include "batching/fakes.h"
#include "scarce_memory.h"

namespace recblr {
namespace {

class QuietBackend : public Backend {
 public:
  void run(const Row* rows, int64_t n_rows) const override {
    for (int64_t b = 0; b < n_rows; ++b) FakeBackend::answer(rows[b]);
  }
  Limits limits() const override { return {64, 16, 1 << 20}; }
  std::string description() const override { return "quiet"; }
};

// Submits what was asked 16 times, and waits for it.
void submit_many(Batcher* batcher, const std::vector<std::unique_ptr<Asked>>& asked) {
  std::atomic<int> open{0};
  std::atomic<int>* counter = &open;
  for (const auto& each : asked) {
    ++open;
    batcher->submit(each->rows(), each->n_rows(), [counter](const std::exception_ptr&) { --*counter; });
  }
  while (open > 0) std::this_thread::yield();
}

std::vector<std::unique_ptr<Asked>> mixed_requests() {
  std::vector<std::unique_ptr<Asked>> asked;
  for (int n = 0; n < 16; ++n) {
    asked.push_back(std::make_unique<Asked>(Lists{{n}, range(1, n % 4 == 0 ? 100 : 10)}));
  }
  return asked;
}

TEST(BatcherAllocations, AreNoneAfterWarmUp) {
  BatchingSettings settings;
  settings.workers = 2;
  settings.timeout = 60;
  Batcher batcher(std::make_shared<QuietBackend>(), kStateSize, settings);
  const auto asked = mixed_requests();
  Asked step(Lists{{1}});
  // Several rounds, until there is memory for the most that is open at once.
  int64_t taken = -1;
  for (int round = 0; round < 50 && taken != 0; ++round) {
    const int64_t before = tests::allocations;
    for (int n = 0; n < 20; ++n) {
      submit_many(&batcher, asked);
      for (int m = 0; m < 20; ++m) batcher.run(step.rows(), 1);
      batcher.run(asked[0]->rows(), 2);
    }
    taken = tests::allocations - before;
  }
  EXPECT_EQ(taken, 0);
  EXPECT_EQ(asked[0]->scores(), asked[0]->expected());
}

TEST(BatcherAllocations, OfADirectExecutorAreNoneAfterWarmUp) {
  DirectExecutor executor(std::make_shared<QuietBackend>(), kStateSize);
  Asked asked(Lists{{1}, range(1, 100)});
  executor.run(asked.rows(), 2);
  const int64_t before = tests::allocations;
  for (int n = 0; n < 100; ++n) executor.run(asked.rows(), 2);
  EXPECT_EQ(tests::allocations - before, 0);
}

TEST(BatcherAllocations, ThatFailAtTheStartEndTheWorkersThatHaveStarted) {
  BatchingSettings settings;
  settings.workers = 3;
  const auto backend = std::make_shared<QuietBackend>();
  int failed = 0;
  for (bool made = false; !made && failed < 1000; failed += made ? 0 : 1) {
    tests::allocations_left = failed;
    try {
      const Batcher batcher(backend, kStateSize, settings);
      made = tests::allocations_left >= 0;
      tests::allocations_left = -1;
    } catch (const std::bad_alloc&) {
    }
  }
  EXPECT_GT(failed, 3);
  EXPECT_LT(failed, 1000);
}

TEST(BatcherAllocations, ThatFailFailTheirRequestAlone) {
  for (int64_t n = 0; n < 40; ++n) {
    BatchingSettings settings;
    settings.workers = 1;
    Batcher batcher(std::make_shared<QuietBackend>(), kStateSize, settings);
    Asked asked(Lists{{1}, range(1, 100)}), after(Lists{{1}, range(1, 100)});
    std::promise<Code> told;
    bool submitted = true;
    Code code = Code::kOk;
    const Done done = [&told](const std::exception_ptr& error) {
      tests::allocations_left = -1;
      told.set_value(error == nullptr ? Code::kOk : error_of([&] { std::rethrow_exception(error); }).second);
    };
    tests::allocations_left = n;
    try {
      batcher.submit(asked.rows(), 2, std::ref(done));
    } catch (const Error& error) {
      code = error.code();
      submitted = false;
    }
    if (submitted) code = told.get_future().get();
    tests::allocations_left = -1;
    EXPECT_TRUE(code == Code::kOk || code == Code::kOutOfMemory) << n;
    if (n == 0) {
      EXPECT_EQ(code, Code::kOutOfMemory);
    }
    batcher.run(after.rows(), 2);
    EXPECT_EQ(after.scores(), after.expected());
    const BatcherMetrics metrics = batcher.metrics();
    EXPECT_EQ(metrics.open_requests + metrics.queued_rows, 0);
  }
}

}  // namespace
}  // namespace recblr
