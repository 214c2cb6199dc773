#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "client.h"

namespace recblr::tests {
namespace {

// What `done` was called with, and a gate that runs wait at.
class Waiter {
 public:
  static void done(void* context, recblr_status status) {
    auto* waiter = static_cast<Waiter*>(context);
    const std::string message = status == RECBLR_OK ? "" : recblr_last_error();
    const std::lock_guard<std::mutex> lock(waiter->mutex_);
    ++waiter->calls_;
    waiter->status_ = status;
    waiter->message_ = message;
    waiter->changed_.notify_all();
  }
  recblr_status wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return calls_ > 0; });
    return status_;
  }
  int calls() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return calls_;
  }
  std::string message() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return message_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int calls_ = 0;
  recblr_status status_ = -1;
  std::string message_;
};

struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_open = true;
  int waiting = 0;

  static recblr_status run(void* context, const recblr_backend_run* run) {
    auto* gate = static_cast<Gate*>(context);
    {
      std::unique_lock<std::mutex> lock(gate->mutex);
      ++gate->waiting;
      gate->changed.notify_all();
      gate->changed.wait(lock, [gate] { return gate->is_open; });
      --gate->waiting;
    }
    for (int64_t j = 0; j < run->n_rows * 16; ++j) run->state_out[j] = run->state_in[j] + 1;
    for (int64_t j = 0; j < run->n_rows * run->k; ++j) {
      run->top_items[j] = static_cast<int32_t>(j % run->k) + 1;
      run->top_scores[j] = -static_cast<float>(j % run->k);
    }
    return RECBLR_OK;
  }
  void set_open(bool open) {
    const std::lock_guard<std::mutex> lock(mutex);
    is_open = open;
    changed.notify_all();
  }
  void wait_for_a_run() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return waiting > 0; });
  }
};

class SubmitTest : public ApiTest {
 protected:
  void SetUp() override {
    backend_.struct_size = sizeof backend_;
    backend_.context = &gate_;
    backend_.run = Gate::run;
    backend_.max_k = 3;
    batching_.struct_size = sizeof batching_;
    batching_.workers = 1;
    options_.struct_size = sizeof options_;
    options_.backend = &backend_;
    options_.batching = &batching_;
    open(TinyBundle{}, &options_);
  }
  void TearDown() override {
    gate_.set_open(true);
    ApiTest::TearDown();
  }
  recblr_metrics metrics() {
    recblr_metrics metrics{};
    metrics.struct_size = sizeof metrics;
    EXPECT_OK(recblr_engine_metrics(engine_, &metrics));
    return metrics;
  }

  Gate gate_;
  recblr_backend backend_{};
  recblr_batching batching_{};
  recblr_engine_options options_{};
  const IdRows rows_ = IdRows(Integers{{20}, {30, 40}});
};

TEST_F(SubmitTest, CallsDoneWithTheAnswer) {
  recblr_request request = request_for(rows_);
  request.k = 3;
  std::vector<float> states(32);
  request.new_states = states.data();
  for (int i = 0; i < 3; ++i) {
    Waiter waiter;
    uint64_t ticket;
    ASSERT_OK(recblr_submit(engine_, &request, result_, Waiter::done, &waiter, &ticket));
    EXPECT_EQ(waiter.wait(), RECBLR_OK);
    EXPECT_EQ(ids(1), (std::vector<int64_t>{10, 20, 30}));
    EXPECT_EQ(states, std::vector<float>(32, 1.0F));
    EXPECT_EQ(recblr_cancel(engine_, ticket), 0);
    EXPECT_EQ(waiter.calls(), 1);
  }
  EXPECT_EQ(metrics().answered, 3);
}

TEST_F(SubmitTest, AResultBelongsToOneRequestAtATime) {
  const recblr_request request = request_for(rows_);
  gate_.set_open(false);
  Waiter waiter, second;
  ASSERT_OK(recblr_submit(engine_, &request, result_, Waiter::done, &waiter, nullptr));
  expect_error(recblr_submit(engine_, &request, result_, Waiter::done, &second, nullptr), RECBLR_INVALID_ARGUMENT,
               "result is in use");
  expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT, "result is in use");
  expect_error(recblr_result_clear(result_), RECBLR_INVALID_ARGUMENT, "result is in use");
  recblr_ranking ranking;
  expect_error(recblr_result_row(result_, 0, &ranking), RECBLR_INVALID_ARGUMENT, "result holds no answer");
  gate_.set_open(true);
  EXPECT_EQ(waiter.wait(), RECBLR_OK);
  EXPECT_EQ(second.calls(), 0);
  EXPECT_OK(recblr_result_row(result_, 0, &ranking));
}

TEST_F(SubmitTest, CancelWithdrawsWhatWaits) {
  const recblr_request request = request_for(rows_);
  gate_.set_open(false);
  Waiter running, waiting;
  recblr_result* other;
  ASSERT_OK(recblr_result_create(&other));
  ASSERT_OK(recblr_submit(engine_, &request, result_, Waiter::done, &running, nullptr));
  gate_.wait_for_a_run();
  uint64_t ticket;
  ASSERT_OK(recblr_submit(engine_, &request, other, Waiter::done, &waiting, &ticket));
  EXPECT_EQ(recblr_cancel(engine_, ticket), 1);
  EXPECT_EQ(waiting.wait(), RECBLR_CANCELLED);
  EXPECT_NE(waiting.message(), "");
  EXPECT_EQ(recblr_cancel(engine_, ticket), 0);
  EXPECT_EQ(recblr_cancel(engine_, 123456789), 0);
  EXPECT_EQ(recblr_cancel(engine_, 0), 0);
  gate_.set_open(true);
  EXPECT_EQ(running.wait(), RECBLR_OK);
  EXPECT_EQ(metrics().cancelled, 1);
  EXPECT_OK(recblr_recommend(engine_, &request, other));
  recblr_result_free(other);
}

TEST_F(SubmitTest, FreeingTheEngineAnswersWhatWasTaken) {
  const recblr_request request = request_for(rows_);
  std::vector<Waiter> waiters(5);
  std::vector<recblr_result*> results(5);
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_OK(recblr_result_create(&results[i]));
    ASSERT_OK(recblr_submit(engine_, &request, results[i], Waiter::done, &waiters[i], nullptr));
  }
  recblr_engine_free(engine_);
  engine_ = nullptr;
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(waiters[i].wait(), RECBLR_OK);
    EXPECT_EQ(recblr_result_n_rows(results[i]), 2);
    recblr_result_free(results[i]);
  }
}

TEST_F(SubmitTest, AClosedEngineRefuses) {
  const recblr_request request = request_for(rows_);
  EXPECT_OK(recblr_engine_close(engine_, 1, -1));
  EXPECT_OK(recblr_engine_close(engine_, 0, 0));
  Waiter waiter;
  expect_error(recblr_submit(engine_, &request, result_, Waiter::done, &waiter, nullptr), RECBLR_CLOSED, "");
  EXPECT_EQ(waiter.calls(), 0);
  expect_error(recblr_recommend(engine_, &request, result_), RECBLR_CLOSED, "");
}

TEST_F(SubmitTest, ManyThreadsSubmitCancelAndRecommendAtOnce) {
  std::atomic<int> answered{0}, cancelled{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      recblr_result* result;
      EXPECT_OK(recblr_result_create(&result));
      const IdRows rows(Integers{{10 * (t + 1)}, {}});
      recblr_request request = request_for(rows);
      request.k = 1 + t % 3;
      for (int i = 0; i < 60; ++i) {
        if (i % 3 == 0) {
          EXPECT_OK(recblr_recommend(engine_, &request, result));
          ++answered;
          continue;
        }
        Waiter waiter;
        uint64_t ticket;
        EXPECT_OK(recblr_submit(engine_, &request, result, Waiter::done, &waiter, &ticket));
        if (i % 3 == 1) recblr_cancel(engine_, ticket);
        const recblr_status status = waiter.wait();
        EXPECT_TRUE(status == RECBLR_OK || status == RECBLR_CANCELLED) << waiter.message();
        ++(status == RECBLR_OK ? answered : cancelled);
        EXPECT_EQ(recblr_result_n_rows(result), status == RECBLR_OK ? 2 : 0);
      }
      recblr_result_free(result);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_OK(recblr_engine_close(engine_, 1, -1));
  const recblr_metrics now = metrics();
  EXPECT_EQ(now.answered, answered);
  EXPECT_EQ(now.cancelled, cancelled);
  EXPECT_EQ(now.accepted, 240);
  EXPECT_EQ(std::accumulate(std::begin(now.run_seconds), std::end(now.run_seconds), int64_t{0}),
            std::accumulate(std::begin(now.batch_rows), std::end(now.batch_rows), int64_t{0}));
  EXPECT_GT(now.run_seconds_total, 0);
}

TEST_F(SubmitTest, MetricsFitOlderAndNewerCallers) {
  struct {
    recblr_metrics metrics;
    int64_t later;
  } newer;
  std::memset(&newer, 0x55, sizeof newer);
  newer.metrics.struct_size = sizeof newer;
  ASSERT_OK(recblr_engine_metrics(engine_, &newer.metrics));
  EXPECT_EQ(newer.later, 0);
  EXPECT_EQ(newer.metrics.struct_size, sizeof newer);
  recblr_metrics older;
  std::memset(&older, 0x55, sizeof older);
  older.struct_size = offsetof(recblr_metrics, batch_rows);
  ASSERT_OK(recblr_engine_metrics(engine_, &older));
  EXPECT_EQ(older.accepted, 0);
  EXPECT_EQ(older.batch_rows[0], 0x5555555555555555);
  older.struct_size = 0;
  expect_error(recblr_engine_metrics(engine_, &older), RECBLR_INVALID_ARGUMENT, "metrics.struct_size is 0");
  open(TinyBundle{});
  older.struct_size = sizeof older;
  expect_error(recblr_engine_metrics(engine_, &older), RECBLR_UNSUPPORTED, "the engine does not batch");
}

TEST_F(SubmitTest, AForkIsToldSo) {
  const recblr_request request = request_for(rows_);
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // should it hang
    uint64_t ticket;
    recblr_metrics metrics{};
    metrics.struct_size = sizeof metrics;
    const bool told = recblr_recommend(engine_, &request, result_) == RECBLR_FORKED &&
                      recblr_submit(engine_, &request, result_, Waiter::done, nullptr, &ticket) == RECBLR_FORKED &&
                      recblr_engine_metrics(engine_, &metrics) == RECBLR_FORKED &&
                      recblr_engine_close(engine_, 1, -1) == RECBLR_FORKED && recblr_cancel(engine_, 1) == 0 &&
                      std::string(recblr_last_error()).rfind("the engine was made in process", 0) == 0;
    recblr_engine_free(engine_);
    _exit(told ? 0 : 1);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_OK(recblr_recommend(engine_, &request, result_));
}

}  // namespace
}  // namespace recblr::tests
