// Many threads at once: every request ends exactly once, and every answer is right, whatever fails, is withdrawn or
// runs out of time around it.
#include <gtest/gtest.h>

#include <random>

#include "batching/batcher.h"
#include "batching/fakes.h"

namespace recblr {
namespace {

constexpr int kThreads = 6, kRequests = 150;

// Always fails on the poison; runs of several rows fail at random, or write nonsense first.
class FaultyBackend : public Backend {
 public:
  void run(const Row* rows, int64_t n_rows) const override {
    thread_local std::mt19937 random(std::random_device{}());
    const bool fault = n_rows > 1 && random() % 20 == 0;
    ++running_;
    EXPECT_LE(running_, 3);
    int64_t tokens = 0;
    bool poison = false;
    for (int64_t b = 0; b < n_rows; ++b) {
      EXPECT_NE(rows[b].state_in, rows[b].state_out);
      tokens += rows[b].n_items;
      poison = poison || std::count(rows[b].items, rows[b].items + rows[b].n_items, kPoison) > 0;
      FakeBackend::answer(rows[b]);
      if (fault) rows[b].state_out[1] = -99;
    }
    EXPECT_LE(n_rows, kSmall.rows);
    EXPECT_LE(tokens, kSmall.tokens);
    if (random() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    --running_;
    if (poison) throw std::runtime_error("poison");
    if (fault && random() % 2 == 0) throw std::bad_alloc();
    if (fault) throw Error(Code::kBackend, "fault");
  }
  Limits limits() const override { return {1 << 20, 1 << 20, 1 << 20}; }
  std::string description() const override { return "faulty"; }

 private:
  mutable std::atomic<int> running_{0};
};

struct Ends {
  std::atomic<int64_t> answered{0}, failed{0}, expired{0}, cancelled{0}, closed{0}, refused{0};
};

// One caller's requests.
class Caller {
 public:
  Caller(Batcher* batcher, Ends* ends, uint32_t seed) : batcher_(batcher), ends_(ends), random_(seed) {}

  void call() {
    Lists lists(1 + random_() % 4);
    bool poisoned = random_() % 12 == 0;
    for (auto& list : lists) {
      list.resize(random_() % 3 == 0 ? random_() % 30 : random_() % 3);
      for (int32_t& item : list) item = static_cast<int32_t>(1 + random_() % 50);
    }
    if (poisoned) lists.back().push_back(kPoison);
    Lists exclude(lists.size());
    for (auto& list : exclude) list.resize(random_() % 4, 3);
    Asked asked(std::move(lists), std::move(exclude));
    std::optional<double> timeout;
    if (random_() % 4 == 0) timeout = 0.0005;
    bool cancelled = false, ran = false;
    if (random_() % 4 == 0) {
      const Code code = error_of([&] { ran = batcher_->run_now(asked.rows(), asked.n_rows()); }).second;
      if (ran || code != Code::kOk) return count(asked, code, poisoned, false);
    }
    if (random_() % 2 == 0) {
      count(asked, error_of([&] { batcher_->run(asked.rows(), asked.n_rows(), timeout); }).second, poisoned, false);
      return;
    }
    try {
      const bool may_run_here = random_() % 2 == 0;
      const Ticket ticket = batcher_->submit(asked.rows(), asked.n_rows(), asked.done(), timeout, may_run_here);
      cancelled = random_() % 4 == 0 && batcher_->cancel(ticket);
    } catch (const Error& error) {
      count(asked, error.code(), poisoned, false);
      return;
    }
    const std::string message = asked.wait();
    EXPECT_EQ(asked.calls(), 1) << message;
    count(asked, asked.code, poisoned, cancelled);
  }

 private:
  void count(const Asked& asked, Code code, bool poisoned, bool cancelled) {
    EXPECT_EQ(code == Code::kCancelled, cancelled);
    switch (code) {
      case Code::kOk:
        ++ends_->answered;
        EXPECT_FALSE(poisoned);
        EXPECT_EQ(asked.scores(), asked.expected());
        break;
      case Code::kBackend:
        ++ends_->failed;
        EXPECT_TRUE(poisoned);
        break;
      case Code::kDeadline:
        ++ends_->expired;
        break;
      case Code::kCancelled:
        ++ends_->cancelled;
        break;
      case Code::kOverloaded:
        ++ends_->refused;
        break;
      case Code::kClosed:
        ++ends_->closed;
        break;
      default:
        ADD_FAILURE() << static_cast<int>(code);
    }
  }

  Batcher* batcher_;
  Ends* ends_;
  std::mt19937 random_;
};

void stress(int workers, double max_delay, bool close_early, uint32_t seed) {
  BatchingSettings settings = small_settings(workers);
  settings.max_queued_rows = 24;
  settings.max_delay = max_delay;
  Batcher batcher(std::make_shared<FaultyBackend>(), kStateSize, settings);
  Ends ends;
  std::vector<std::thread> threads;
  for (uint32_t n = 0; n < kThreads; ++n) {
    threads.emplace_back([&, n] {
      Caller caller(&batcher, &ends, seed * kThreads + n);
      for (int request = 0; request < kRequests; ++request) caller.call();
    });
  }
  if (close_early) {
    while (batcher.metrics().answered < kThreads * kRequests / 8) std::this_thread::yield();
    batcher.close(seed % 2 == 0, std::nullopt);
  }
  for (std::thread& thread : threads) thread.join();
  batcher.close(true, std::nullopt);
  const BatcherMetrics metrics = batcher.metrics();
  EXPECT_EQ(metrics.answered, ends.answered);
  EXPECT_EQ(metrics.expired, ends.expired);
  EXPECT_EQ(metrics.cancelled, ends.cancelled);
  EXPECT_EQ(metrics.refused, ends.refused);
  EXPECT_GE(metrics.failed, ends.failed);  // those that closing failed, too
  EXPECT_EQ(metrics.accepted, metrics.answered + metrics.failed + metrics.expired + metrics.cancelled);
  EXPECT_EQ(metrics.open_requests + metrics.queued_rows + metrics.queued_tokens + metrics.running_batches, 0);
  EXPECT_GT(ends.answered, 0);
  if (!close_early) {
    EXPECT_EQ(ends.closed, 0);
  }
}

TEST(BatcherStress, EveryRequestEndsOnceAndRight) {
  for (uint32_t seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    stress(1 + static_cast<int>(seed % 3), seed % 2 == 0 ? 0.0 : 0.0002, false, seed);
  }
}

TEST(BatcherStress, AlsoIfItIsClosedMeanwhile) {
  for (uint32_t seed = 10; seed < 16; ++seed) {
    SCOPED_TRACE(seed);
    stress(1 + static_cast<int>(seed % 3), 0.0, true, seed);
  }
}

}  // namespace
}  // namespace recblr
