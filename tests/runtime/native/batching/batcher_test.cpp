// Concurrent callers share runs, and each gets the answer it would get alone.
#include "batching/batcher.h"

#include <gtest/gtest.h>

#include "batching/fakes.h"

namespace recblr {
namespace {

class BatcherTest : public ::testing::Test {
 protected:
  ~BatcherTest() override { backend->open(); }

  Batcher* make(const BatchingSettings& settings = small_settings()) {
    batcher = std::make_unique<Batcher>(backend, kStateSize, settings);
    return batcher.get();
  }
  Ticket submit(Asked* asked, std::optional<double> timeout = std::nullopt) {
    return batcher->submit(asked->rows(), asked->n_rows(), asked->done(), timeout);
  }
  // Keeps the worker busy until the backend is opened, so that what follows waits.
  void block() {
    backend->shut();
    const size_t runs = backend->runs().size();
    submit(&blocking);
    ASSERT_TRUE(backend->wait_for_runs(runs + 1));
  }

  Asked blocking{Lists{{1}}};
  std::shared_ptr<FakeBackend> backend = std::make_shared<FakeBackend>();
  std::unique_ptr<Batcher> batcher;
};

TEST_F(BatcherTest, WaitingRequestsShareARunAndKeepTheirOrder) {
  make();
  block();
  Asked first(Lists{{1}}, Lists{{11}}, 1), second(Lists{{2}}, Lists{{12}}, 2),
      two(Lists{{5}, {}}, Lists{{}, {7}}, 0, 1);
  for (Asked* asked : {&first, &second, &two}) submit(asked);
  backend->open();
  for (Asked* asked : {&blocking, &first, &second, &two}) {
    EXPECT_EQ(asked->wait(), "");
    EXPECT_EQ(asked->scores(), asked->expected());
  }
  EXPECT_EQ(first.scores(), (std::vector<float>{2, 2, 11}));
  EXPECT_EQ(first.states(), (std::vector<float>{2, 2}));
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{1}, {1, 1, 1, 0}}));
  EXPECT_EQ(batcher->description(), "a fake, batching");
}

TEST_F(BatcherTest, BatchesKeepTheLimits) {
  make();
  block();
  Asked many(Lists{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}}),
      excluding(Lists{{1}, {2}}, Lists{{1, 1, 1, 1}, range(2, 10)});
  submit(&many);
  submit(&excluding);
  backend->open();
  for (Asked* asked : {&many, &excluding}) {
    EXPECT_EQ(asked->wait(), "");
    EXPECT_EQ(asked->scores(), asked->expected());
  }
  for (const FakeBackend::Run& run : backend->runs()) EXPECT_LE(run.size(), 4u);
}

TEST_F(BatcherTest, TheBackendsLimitsCountToo) {
  backend = std::make_shared<FakeBackend>(Limits{2, 5, 100});
  make();
  Asked asked(Lists{range(1, 12), {1}, {2}, {3}});
  batcher->run(asked.rows(), asked.n_rows());
  EXPECT_EQ(asked.scores(), asked.expected());
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{5}, {5}, {2}, {1, 1}, {1}}));
}

TEST_F(BatcherTest, ALongHistoryGoesInPiecesBetweenSteps) {
  make();
  block();
  Asked history(Lists{range(1, 100), {3}}, Lists{{5}, {6}});
  std::vector<std::unique_ptr<Asked>> steps;
  submit(&history);
  for (int n = 0; n < 8; ++n) {
    steps.push_back(std::make_unique<Asked>(Lists{{n}}));
    submit(steps.back().get());
  }
  backend->open();
  EXPECT_EQ(history.wait(), "");
  EXPECT_EQ(history.scores(), (std::vector<float>{5050, 100, 5, 3, 1, 6}));
  for (const auto& step : steps) {
    EXPECT_EQ(step->wait(), "");
    EXPECT_EQ(step->scores(), step->expected());
  }
  const auto runs = backend->runs();
  const FakeBackend::Run four(4, 1), piece{8};
  // Both batches of steps are through before the third piece of the history.
  EXPECT_EQ((std::vector<FakeBackend::Run>(runs.begin() + 1, runs.begin() + 5)),
            (std::vector<FakeBackend::Run>{piece, four, piece, four}));
}

TEST_F(BatcherTest, APoisonousRequestFailsAlone) {
  make();
  block();
  Asked first(Lists{{1}}), second(Lists{{2}}), bad(Lists{{4}, {kPoison}}), third(Lists{{3}});
  for (Asked* asked : {&first, &bad, &second, &third}) submit(asked);
  backend->open();
  for (Asked* asked : {&first, &second, &third}) {
    EXPECT_EQ(asked->wait(), "");
    EXPECT_EQ(asked->scores(), asked->expected());
  }
  EXPECT_EQ(bad.wait(),
            "the backend failed on this request (index out of range): check its items and states; other requests are "
            "not affected");
  EXPECT_EQ(bad.code, Code::kBackend);
  EXPECT_EQ(batcher->metrics().failed, 1);
  EXPECT_EQ(batcher->metrics().open_requests, 0);
}

TEST_F(BatcherTest, ABatchTooLargeForTheMemoryIsHalved) {
  make();
  backend->max_rows = 1;
  Asked asked(Lists{{1}, {2}, {3}, {4}}, Lists{{1}, {}, {}, {9}});
  batcher->run(asked.rows(), asked.n_rows());
  EXPECT_EQ(asked.scores(), asked.expected());
  const Asked bad(Lists{{1}, {kPoison}});
  EXPECT_EQ(error_of([&] { batcher->run(bad.rows(), 2); }).second, Code::kBackend);
  const BatcherMetrics metrics = batcher->metrics();
  EXPECT_EQ(metrics.accepted, 2);
  EXPECT_EQ(metrics.answered, 1);
  EXPECT_EQ(metrics.failed, 1);
  EXPECT_EQ(metrics.open_requests, 0);
}

TEST_F(BatcherTest, WhatHasNothingToDoWithTheRowsIsNotRepeated) {
  make();
  backend->fail_with([] { throw Error(Code::kCancelled, "interrupted"); });
  const Asked asked(Lists{{1}, {2}});
  EXPECT_EQ(error_of([&] { batcher->run(asked.rows(), 2); }).second, Code::kCancelled);
  EXPECT_EQ(backend->runs().size(), 1U);
}

TEST_F(BatcherTest, AFailedPieceIsRepeatedFromTheSameState) {
  // A backend that writes wrong states before it fails, every second time.
  class Flaky : public FakeBackend {
   public:
    void run(const Row* rows, int64_t n_rows) const override {
      FakeBackend::run(rows, n_rows);
      if (n_rows == 1) return;
      for (int64_t b = 0; b < n_rows; ++b) rows[b].state_out[0] = rows[b].state_out[1] = -99;
      throw std::runtime_error("flaky");
    }
  };
  backend = std::make_shared<Flaky>();
  BatchingSettings settings = small_settings();
  settings.short_tokens = 0;
  make(settings);
  block();
  Asked first(Lists{{1, 1, 1}}, {}, 3), last(Lists{range(1, 12)});
  submit(&last);
  submit(&first);
  backend->open();
  for (Asked* asked : {&first, &last}) {
    EXPECT_EQ(asked->wait(), "");
    EXPECT_EQ(asked->scores(), asked->expected());
  }
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{1}, {8}, {3, 4}, {3}, {4}}));
}

TEST_F(BatcherTest, AFailingBackendAnswersEveryoneAndRecovers) {
  const std::pair<std::function<void()>, Code> errors[] = {
      {[] { throw std::bad_alloc(); }, Code::kOutOfMemory},
      {[] { throw std::invalid_argument("x"); }, Code::kBackend},
      {[] { throw 7; }, Code::kBackend},
      {[] { throw Error(Code::kInvalidArgument, "as it is"); }, Code::kInvalidArgument}};
  make();
  for (const auto& [error, code] : errors) {
    backend->shut();
    const size_t runs = backend->runs().size();
    Asked first(Lists{{1}});
    submit(&first);
    ASSERT_TRUE(backend->wait_for_runs(runs + 1));
    std::vector<std::unique_ptr<Asked>> others;
    for (int n = 0; n < 9; ++n) {
      others.push_back(std::make_unique<Asked>(Lists{{1}}));
      submit(others.back().get());
    }
    backend->fail_with(error);
    backend->open();
    for (const auto& asked : others) {
      EXPECT_NE(asked->wait(), "");
      EXPECT_EQ(asked->code, code);
    }
    backend->fail_with(nullptr);
    Asked after(Lists{{7}});
    batcher->run(after.rows(), 1);
    EXPECT_EQ(after.scores(), after.expected());
    EXPECT_NE(first.wait(), "");
  }
}

TEST_F(BatcherTest, AFullQueueRefusesAndCancellingFreesItsPlace) {
  BatchingSettings settings = small_settings();
  settings.max_queued_rows = 2;
  make(settings);
  block();
  Asked first(Lists{{1}}), second(Lists{{2}}), refused(Lists{{3}}), third(Lists{{3}});
  const Ticket ticket = submit(&first);
  const Ticket other = submit(&second);
  const auto [message, code] = error_of([&] { submit(&refused); });
  EXPECT_EQ(code, Code::kOverloaded);
  EXPECT_EQ(message,
            "no room for 1 more rows, where at most 2 rows and 1,048,576 items may wait: send the request again later, "
            "or elsewhere");
  EXPECT_TRUE(batcher->cancel(ticket));
  EXPECT_TRUE(first.is_told());
  EXPECT_NE(first.wait(), "");
  EXPECT_EQ(first.code, Code::kCancelled);
  EXPECT_FALSE(batcher->cancel(ticket));
  const Ticket last = submit(&third);
  EXPECT_FALSE(batcher->cancel(ticket));  // though its place in memory is used again
  backend->open();
  EXPECT_EQ(third.wait() + second.wait(), "");
  batcher->close(true, std::nullopt);
  EXPECT_FALSE(batcher->cancel(other) || batcher->cancel(last) || batcher->cancel(0) || batcher->cancel(~Ticket{0}));
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{1}, {1, 1}}));
  EXPECT_FALSE(refused.is_told());
  const BatcherMetrics metrics = batcher->metrics();
  EXPECT_EQ(metrics.refused, 1);
  EXPECT_EQ(metrics.cancelled, 1);
  EXPECT_EQ(metrics.answered, 3);
}

TEST_F(BatcherTest, AHistoryCancelledHalfWayStopsOnceItsPieceHasEnded) {
  make();
  backend->shut();
  Asked history(Lists{std::vector<int32_t>(1000, 1)});
  const Ticket ticket = submit(&history);
  ASSERT_TRUE(backend->wait_for_runs(1));
  EXPECT_TRUE(batcher->cancel(ticket));
  EXPECT_FALSE(history.is_told());
  EXPECT_EQ(batcher->metrics().cancelled, 1);
  backend->open();
  EXPECT_NE(history.wait(), "");
  EXPECT_EQ(history.code, Code::kCancelled);
  batcher->close(true, std::nullopt);
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{8}}));
}

TEST_F(BatcherTest, ExpiredRequestsDoNotRun) {
  FakeClock clock;
  BatchingSettings settings = small_settings();
  settings.max_queued_rows = 2;
  settings.clock = clock.reader();
  make(settings);
  block();
  Asked late(Lists{{1}}), patient(Lists{{2}}), third(Lists{{3}});
  submit(&late, 5.0);
  submit(&patient, 50.0);
  clock.advance(10);
  submit(&third);  // the expired one's place is free
  EXPECT_TRUE(late.is_told());
  EXPECT_EQ(late.wait(), "the request waited 10 s, longer than it may: allow more time, or send fewer requests");
  EXPECT_EQ(late.code, Code::kDeadline);
  backend->open();
  EXPECT_EQ(patient.wait() + third.wait(), "");
  EXPECT_EQ(batcher->metrics().expired, 1);
  EXPECT_EQ(error_of([&] { submit(&late, 0.0); }).first, "timeout is 0.0: give seconds above 0");
}

TEST_F(BatcherTest, ADeadlineBoundsTheWholeRequest) {
  FakeClock clock;
  BatchingSettings settings = small_settings();
  settings.clock = clock.reader();
  settings.timeout = 0.5;
  make(settings);
  backend->shut();
  Asked history(Lists{range(1, 30)});
  submit(&history);
  ASSERT_TRUE(backend->wait_for_runs(1));
  clock.advance(0.5);  // while its first piece runs
  backend->open();
  EXPECT_EQ(history.wait(), "the request waited 0.5 s, longer than it may: allow more time, or send fewer requests");
  batcher->close(true, std::nullopt);
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{8}}));
}

TEST_F(BatcherTest, ADelayGathersUntilTheBatchIsFull) {
  BatchingSettings settings = small_settings();
  settings.max_delay = 3600;
  settings.clock = [] { return 0.0; };
  make(settings);
  Asked asked[4] = {Asked(Lists{{0}}), Asked(Lists{{1}}), Asked(Lists{{2}}), Asked(Lists{{3}})};
  for (Asked& each : asked) submit(&each);
  for (Asked& each : asked) EXPECT_EQ(each.wait(), "");
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{1, 1, 1, 1}}));
}

TEST_F(BatcherTest, AThreadThatFindsNothingWaitingComputesItself) {
  make();
  Asked small(Lists{{1, 2}}), history(Lists{range(1, 20)}), bad(Lists{{kPoison}});
  batcher->run(small.rows(), 1);
  EXPECT_EQ(error_of([&] { batcher->run(bad.rows(), 1); }).second, Code::kBackend);
  batcher->run(history.rows(), 1);  // three pieces, for the worker
  EXPECT_EQ(history.scores(), history.expected());
  const auto threads = backend->threads();
  ASSERT_EQ(threads.size(), 5u);
  for (size_t n = 0; n < 5; ++n) EXPECT_EQ(threads[n] == std::this_thread::get_id(), n < 2) << n;
  const BatcherMetrics metrics = batcher->metrics();
  EXPECT_EQ(metrics.accepted, 3);
  EXPECT_EQ(metrics.answered, 2);
  EXPECT_EQ(metrics.failed, 1);
  EXPECT_EQ(metrics.batch_tokens, 22);
  EXPECT_EQ(error_of([&] { batcher->run(small.rows(), 0); }).second, Code::kInvalidArgument);
}

TEST_F(BatcherTest, ARequestThatMayRunHereRunsInItsCallersThreadWhereAPlaceIsFree) {
  make();
  Asked first(Lists{{1, 2}}), bad(Lists{{kPoison}}), history(Lists{range(1, 20)});
  int answered = 0;
  batcher->submit(first.rows(), 1, [&](const std::exception_ptr& error) { answered += error == nullptr; }, {}, true);
  EXPECT_EQ(answered, 1);
  EXPECT_EQ(first.scores(), first.expected());
  std::exception_ptr failed;
  batcher->submit(bad.rows(), 1, [&](const std::exception_ptr& error) { failed = error; }, {}, true);
  EXPECT_EQ(error_of([&] { std::rethrow_exception(failed); }).second, Code::kBackend);
  for (const std::thread::id thread : backend->threads()) EXPECT_EQ(thread, std::this_thread::get_id());
  // More than a run takes is the workers'.
  batcher->submit(history.rows(), 1, history.done(), {}, true);
  EXPECT_EQ(history.wait(), "");
  EXPECT_NE(backend->threads().back(), std::this_thread::get_id());
  const BatcherMetrics metrics = batcher->metrics();
  EXPECT_EQ(metrics.accepted, 3);
  EXPECT_EQ(metrics.answered, 2);
  EXPECT_EQ(metrics.failed, 1);
}

TEST_F(BatcherTest, ARequestThatMayRunHereMayHaveACallbackThatThrows) {
  make();
  Asked asked(Lists{{1}});
  const auto fail = [](const std::exception_ptr&) { throw std::runtime_error("a callback must not"); };
  EXPECT_NO_THROW(batcher->submit(asked.rows(), 1, fail, {}, true));
  EXPECT_EQ(asked.scores(), asked.expected());
  EXPECT_EQ(batcher->metrics().done_errors, 1);
  EXPECT_EQ(batcher->metrics().answered, 1);
}

TEST_F(BatcherTest, ARequestThatMayRunHereWaitsBehindOthers) {
  make();
  block();
  Asked before(Lists{{4}}), asked(Lists{{5}});
  submit(&before);
  batcher->submit(asked.rows(), 1, asked.done(), {}, true);
  EXPECT_EQ(batcher->metrics().queued_rows, 2);
  backend->open();
  EXPECT_EQ(asked.wait(), "");
  EXPECT_EQ(asked.scores(), asked.expected());
  EXPECT_NE(backend->threads().back(), std::this_thread::get_id());
}

TEST_F(BatcherTest, AThreadThatFindsAllPlacesTakenWaits) {
  make();
  block();
  Asked asked(Lists{{4}, {5}});
  auto answered = std::async(std::launch::async, [&] { batcher->run(asked.rows(), 2); });
  while (batcher->metrics().queued_rows < 2) std::this_thread::yield();
  backend->open();
  answered.get();
  EXPECT_EQ(asked.scores(), asked.expected());
  EXPECT_NE(backend->threads().back(), std::this_thread::get_id());
}

TEST_F(BatcherTest, MoreThreadsThanABatchHasRowsAllGetTheirAnswers) {
  constexpr int kThreads = 24, kCalls = 50;
  make(small_settings(2));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int call = 0; call < kCalls; ++call) {
        Asked asked(call % 3 == 0 ? Lists{{thread, call, 1}} : Lists{{thread + call}});
        batcher->run(asked.rows(), 1);
        if (asked.scores() != asked.expected()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(batcher->metrics().answered, kThreads * kCalls);
}

TEST_F(BatcherTest, ACallbackMayThrowAndSubmitButNotRun) {
  make();
  Asked inner(Lists{{2}}), outer(Lists{{1}});
  std::promise<std::pair<std::string, Code>> refused;
  batcher->submit(outer.rows(), 1, [&](const std::exception_ptr&) {
    refused.set_value(error_of([&] { batcher->run(inner.rows(), 1); }));
    submit(&inner);
    throw std::runtime_error("a callback must not");
  });
  const auto [message, code] = refused.get_future().get();
  EXPECT_EQ(message,
            "what answers requests made another one of the same engine, and would wait for itself: make it in another "
            "thread");
  EXPECT_EQ(code, Code::kInvalidArgument);
  EXPECT_EQ(inner.wait(), "");
  batcher->close(true, std::nullopt);
  EXPECT_EQ(batcher->metrics().done_errors, 1);
  EXPECT_EQ(batcher->metrics().answered, 2);
}

}  // namespace
}  // namespace recblr
