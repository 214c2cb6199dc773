// The queue by itself: callers and workers are a sequence of calls, and time is given.
#include "batching/queue.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <set>
#include <tuple>

#include "batching/fakes.h"
#include "batching/queue_steps.h"

namespace recblr {
namespace {

BatchingSettings large_settings(FakeClock* clock, int workers = 1) {
  BatchingSettings settings = settings_of(clock, workers);
  settings.batch = {64, 1000, 1000};
  settings.enough_rows = 64;
  settings.enough_tokens = 1000;
  settings.max_queued_rows = 100;
  settings.max_queued_tokens = 100000;
  return settings;
}

TEST(BatchQueue, APartlyFullBatchWaitsOutItsDelay) {
  FakeClock clock;
  BatchingSettings settings = settings_of(&clock);
  settings.max_delay = 0.2;
  BatchQueue queue(settings, kStateSize);
  Worker worker(&queue);
  Asked first(Lists{{1}, {2}}), second(Lists{{3}}), other_lane(Lists{{4, 4, 4, 4, 4}}), more(Lists{{5, 5, 5, 5, 5, 5}});
  put(&queue, &first);
  auto taken = std::async(std::launch::async, [&] { return worker.take(); });
  EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  clock.advance(0.19);
  put(&queue, &second);
  EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  clock.advance(0.02);  // the first has waited long enough, the second goes with it
  ASSERT_EQ(taken.wait_for(kWait), std::future_status::ready);
  EXPECT_EQ(taken.get(), (std::vector<int64_t>{2, 1}));
  worker.finish();
  put(&queue, &other_lane);
  put(&queue, &more);  // together more items than a batch: no more delay
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{5}));
}

TEST(BatchQueue, ABatchThatIsEnoughDoesNotWait) {
  for (const auto& [rows, tokens, n_put] : {std::tuple{2, 8, 2}, {4, 5, 3}, {99, 99, 4}}) {
    FakeClock clock;
    BatchingSettings settings = settings_of(&clock);
    settings.max_delay = 3600;
    settings.enough_rows = rows;
    settings.enough_tokens = tokens;
    BatchQueue queue(checked(settings, kSmall), kStateSize);
    Worker worker(&queue);
    auto taken = std::async(std::launch::async, [&] { return worker.take(); });
    Asked asked[4] = {Asked(Lists{{1, 2}}), Asked(Lists{{1, 2}}), Asked(Lists{{1, 2}}), Asked(Lists{{1, 2}})};
    for (int n = 0; n < n_put; ++n) {
      EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(10)), std::future_status::timeout);
      put(&queue, &asked[n]);
    }
    ASSERT_EQ(taken.wait_for(kWait), std::future_status::ready);
    EXPECT_EQ(taken.get(), std::vector<int64_t>(static_cast<size_t>(n_put), 2));
    worker.finish();
  }
}

TEST(BatchQueue, ADelayHoldsUpThoseThatWouldTakeAWorkersPlace) {
  FakeClock clock;
  BatchingSettings settings = settings_of(&clock);
  settings.max_delay = 1;
  BatchQueue queue(settings, kStateSize);
  const Asked step(Lists{{1}}), full(Lists{range(1, 8)});
  EXPECT_FALSE(queue.enter({step.rows(), 1}));
  EXPECT_TRUE(queue.enter({full.rows(), 1}));  // a batch already
  queue.leave({full.rows(), 1}, Outcome::kAnswered, 0);
}

TEST(BatchQueue, AJumpOfTheClockExpiresWhatItMustAndStartsTheRest) {
  FakeClock clock;
  BatchingSettings settings = settings_of(&clock);
  settings.max_delay = 3600;
  BatchQueue queue(settings, kStateSize);
  Worker worker(&queue);
  Asked late(Lists{{1}}), patient(Lists{{2, 2}});
  put(&queue, &late, 60.0);
  put(&queue, &patient);
  clock.advance(1e9);
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{2}));
  EXPECT_EQ(late.wait(), "the request waited 1e+09 s, longer than it may: allow more time, or send fewer requests");
  EXPECT_FALSE(patient.is_told());
  worker.finish();
  worker.rest();
  EXPECT_EQ(patient.wait(), "");
}

TEST(BatchQueue, ClosingBetweenThePiecesOfARowRunsTheRest) {
  FakeClock clock;
  BatchQueue queue(settings_of(&clock, 2), kStateSize);
  Worker worker(&queue, 0), other(&queue, 1);
  Asked asked(Lists{range(1, 20), {3}});
  put(&queue, &asked);
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{8}));
  queue.close();
  auto waits = std::async(std::launch::async, [&] { return other.take(); });  // must not end before the rest is there
  EXPECT_EQ(waits.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  queue.fail_open("closed", false);
  EXPECT_FALSE(asked.is_told());  // the piece still writes to its memory
  worker.finish();
  ASSERT_EQ(waits.wait_for(kWait), std::future_status::ready);
  EXPECT_EQ(waits.get(), (std::vector<int64_t>{-1}));
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{-1}));
  EXPECT_EQ(asked.wait(), "closed");
}

TEST(BatchQueue, TimeThatRunsOutWhileAPieceRunsHoldsUpNobody) {
  FakeClock clock;
  BatchQueue queue(settings_of(&clock, 2), kStateSize);
  Worker worker(&queue, 0), other(&queue, 1);
  Asked history(Lists{range(1, 30)}), next(Lists{{7, 7, 7, 7, 7}});
  put(&queue, &history, 1.0);
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{8}));
  clock.advance(2);
  put(&queue, &next);
  EXPECT_EQ(other.take(), (std::vector<int64_t>{5}));
  EXPECT_EQ(queue.metrics().expired, 1);
  EXPECT_FALSE(history.is_told());
  worker.finish();
  other.finish();
  worker.rest();
  other.rest();
  EXPECT_EQ(history.wait(), "the request waited 2 s, longer than it may: allow more time, or send fewer requests");
  EXPECT_EQ(next.wait(), "");
  EXPECT_EQ(queue.metrics().queued_rows + queue.metrics().queued_tokens, 0);
}

TEST(BatchQueue, CallersThatRunTheirOwnBatchTakeAWorkersPlace) {
  FakeClock clock;
  BatchQueue queue(settings_of(&clock, 2), kStateSize);
  Worker worker(&queue, 0);
  const Asked own(Lists{{1}});
  Asked step(Lists{{2}});
  const Splitter rows(own.rows(), 1);
  EXPECT_TRUE(queue.enter(rows));
  EXPECT_TRUE(queue.enter(rows));
  EXPECT_FALSE(queue.enter(rows));  // two batches run
  put(&queue, &step);
  auto taken = std::async(std::launch::async, [&] { return worker.take(); });
  EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  queue.leave(rows, Outcome::kAnswered, 0);
  ASSERT_EQ(taken.wait_for(kWait), std::future_status::ready);
  EXPECT_EQ(taken.get(), (std::vector<int64_t>{1}));
  worker.finish();
  queue.close();
  EXPECT_EQ(error_of([&] { queue.enter(rows); }).second, Code::kClosed);
  queue.worker_ended(&worker.batch);
  EXPECT_FALSE(queue.wait_until_idle(0.01));
  queue.leave(rows, Outcome::kFailed, 0);
  EXPECT_TRUE(queue.wait_until_idle(0.0));
  const BatcherMetrics metrics = queue.metrics();
  EXPECT_EQ(metrics.accepted, 3);
  EXPECT_EQ(metrics.answered, 2);
  EXPECT_EQ(metrics.failed, 1);
  EXPECT_EQ(metrics.backend_errors, 1);
  EXPECT_EQ(metrics.open_requests, 0);
  EXPECT_EQ(metrics.batch_rows.total, 2);
}

// Short rows of callers, with more places for them than workers.
class BatchQueueShortPlaces : public ::testing::Test {
 protected:
  static BatchingSettings settings(FakeClock* clock) {
    BatchingSettings settings = large_settings(clock, 1);
    settings.short_places = 3;
    return settings;
  }
  FakeClock clock_;
  BatchQueue queue_{settings(&clock_), kStateSize};
  Worker worker_{&queue_};
  Asked short_row_{Lists{{1}}}, long_row_{Lists{{1, 2, 3}}};
  const Splitter short_{short_row_.rows(), 1}, long_{long_row_.rows(), 1};
};

TEST_F(BatchQueueShortPlaces, AreBesideTheWorkers) {
  for (int caller = 0; caller < 3; ++caller) EXPECT_TRUE(queue_.enter(short_));
  EXPECT_FALSE(queue_.enter(short_));
  EXPECT_FALSE(queue_.enter(long_));
  put(&queue_, &long_row_);
  EXPECT_EQ(worker_.take(), (std::vector<int64_t>{3}));  // waits for none of the callers
  for (int caller = 0; caller < 3; ++caller) queue_.leave(short_, Outcome::kAnswered, 0);
  EXPECT_TRUE(queue_.enter(short_));  // the worker has a place, and there are two more
  EXPECT_TRUE(queue_.enter(short_));
  EXPECT_FALSE(queue_.enter(short_));
  for (int caller = 0; caller < 2; ++caller) queue_.leave(short_, Outcome::kAnswered, 0);
  worker_.finish();
  worker_.rest();
}

TEST_F(BatchQueueShortPlaces, AreNotForLongRows) {
  EXPECT_TRUE(queue_.enter(long_));
  EXPECT_FALSE(queue_.enter(long_));
  EXPECT_TRUE(queue_.enter(short_));
  put(&queue_, &long_row_);
  auto taken = std::async(std::launch::async, [&] { return worker_.take(); });
  EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  queue_.leave(long_, Outcome::kAnswered, 0);
  ASSERT_EQ(taken.wait_for(kWait), std::future_status::ready);
  queue_.leave(short_, Outcome::kAnswered, 0);
  worker_.finish();
  worker_.rest();
}

TEST_F(BatchQueueShortPlaces, AreClosedToACrowd) {
  std::array<Waiter, 8> waiters;
  for (Waiter& waiter : waiters) queue_.put(short_, nullptr, &waiter, std::nullopt);
  EXPECT_EQ(worker_.take().size(), 8u);
  worker_.finish();
  worker_.rest();
  EXPECT_TRUE(queue_.enter(short_));  // the worker's place
  EXPECT_FALSE(queue_.enter(short_));
  clock_.advance(1);
  EXPECT_TRUE(queue_.enter(short_));
  for (int caller = 0; caller < 2; ++caller) queue_.leave(short_, Outcome::kAnswered, 0);
}

TEST(BatchQueue, ARequestThatWaitsForAPlaceExpiresInTime) {
  FakeClock clock;
  BatchQueue queue(settings_of(&clock), kStateSize);
  Worker worker(&queue);
  const Asked own(Lists{{1}});
  const Splitter rows(own.rows(), 1);
  Asked answered(Lists{{3}}), late(Lists{{2}});
  put(&queue, &answered, 0.02);  // whose deadline means nothing any more
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{1}));
  worker.finish();
  worker.rest();
  ASSERT_TRUE(queue.enter(rows));
  auto taken = std::async(std::launch::async, [&] { return worker.take(); });
  EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  clock.advance(0.01);
  put(&queue, &late, 0.02);
  clock.advance(1);
  EXPECT_EQ(late.wait().substr(0, 18), "the request waited");  // told by the worker, which has no place
  queue.close();
  EXPECT_EQ(taken.get(), (std::vector<int64_t>{-1}));
  queue.leave(rows, Outcome::kAnswered, 0);
}

TEST(BatchQueue, AWorkerThatWasWokenHasItsPlaceBeforeItRuns) {
  BatchQueue queue(small_settings(2), kStateSize);
  std::vector<std::thread> workers;
  for (int number = 0; number < 2; ++number) {
    queue.worker_started();
    workers.emplace_back([&queue, number] {
      Batch batch;
      while (queue.take(&batch, number)) {
        compute(&batch);
        queue.finish(&batch);
      }
      queue.worker_ended(&batch);
    });
  }
  const Asked own(Lists{{1}});
  const Splitter rows(own.rows(), 1);
  bool entered_beside = false;  // while a request waited for the worker that was woken for it
  for (int round = 0; round < 10'000 && !entered_beside; ++round) {
    Asked first(Lists{{2}}), second(Lists{{3}});
    put(&queue, &first);
    if (queue.enter(rows)) {
      entered_beside = queue.metrics().queued_rows == 1;
      queue.leave(rows, Outcome::kAnswered, 0);
    }
    EXPECT_EQ(first.wait(), "");
    if (!queue.enter(rows)) continue;
    put(&queue, &second);
    if (queue.enter(rows)) {  // not in the place of the worker that is to answer the second
      EXPECT_TRUE(second.is_told());
      queue.leave(rows, Outcome::kAnswered, 0);
    }
    queue.leave(rows, Outcome::kAnswered, 0);
    EXPECT_EQ(second.wait(), "");
  }
  EXPECT_TRUE(entered_beside);
  queue.close();
  for (std::thread& worker : workers) worker.join();
}

// Puts rows of so many items, and returns the batches in which they are taken.
std::vector<std::vector<int64_t>> batches(BatchQueue* queue, Worker* worker, const std::vector<int64_t>& of) {
  std::vector<std::unique_ptr<Asked>> asked;
  for (const int64_t length : of) {
    asked.push_back(std::make_unique<Asked>(Lists{std::vector<int32_t>(static_cast<size_t>(length), 1)}));
    put(queue, asked.back().get());
  }
  std::vector<std::vector<int64_t>> taken;
  while (queue->metrics().queued_rows > 0) {
    taken.push_back(worker->take());
    worker->finish();
  }
  worker->rest();
  return taken;
}

TEST(BatchQueue, WorkersShareTheLongRowsThatWait) {
  FakeClock clock;
  BatchQueue queue(large_settings(&clock, 2), kStateSize);
  Worker worker(&queue);
  // 455 of 910; of the 460 that are left, all of a longer row; then no less than 128.
  EXPECT_EQ(batches(&queue, &worker, {90, 90, 90, 90, 90, 400, 30, 30}),
            (std::vector<std::vector<int64_t>>{{90, 90, 90, 90, 90}, {400}, {30, 30}}));
  const auto shorts = batches(&queue, &worker, std::vector<int64_t>(70, 2));
  EXPECT_EQ(shorts.front().size(), 64u);  // short rows are not shared
}

TEST(BatchQueue, WhereSmallBatchesAreHardlyDearerFewLongRowsGoOneAfterTheOther) {
  FakeClock clock;
  BatchingSettings settings = large_settings(&clock, 2);
  settings.enough_rows = 32;
  settings.enough_tokens = 96;
  BatchQueue queue(settings, kStateSize);
  Worker worker(&queue);
  EXPECT_EQ(batches(&queue, &worker, std::vector<int64_t>(5, 90)),
            (std::vector<std::vector<int64_t>>(5, std::vector<int64_t>{90})));
  EXPECT_EQ(batches(&queue, &worker, std::vector<int64_t>(20, 90)).front(),
            (std::vector<int64_t>{90, 90}));  // 225 of 1,800, an eighth
}

TEST(BatchQueue, LongRowsLeaveTimeForShortOnesWhileTheseCome) {
  for (const bool alone : {false, true}) {
    FakeClock clock;
    BatchQueue queue(large_settings(&clock), kStateSize);
    Worker worker(&queue);
    const std::vector<int64_t> many(12, 90);
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 11u);
    if (alone) {
      const Asked step(Lists{{1}});
      ASSERT_TRUE(queue.enter({step.rows(), 1}));
      queue.leave({step.rows(), 1}, Outcome::kAnswered, 0);
    } else {
      batches(&queue, &worker, {1});
    }
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 5u);                   // half the limit
    EXPECT_EQ(batches(&queue, &worker, {900}).front(), std::vector<int64_t>{900});  // a row is not cut for that
    clock.advance(0.9);
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 5u);
    clock.advance(0.2);
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 11u);
  }
}

// What one system call wakes: those that likely run together, and no others.
TEST(BatchQueue, ThreadsThatWaitForOneBatchHaveOneBell) {
  FakeClock clock;
  BatchQueue queue(settings_of(&clock), kStateSize);
  Worker worker(&queue);
  Asked short_row(Lists{{1}}), long_row(Lists{{1, 2, 3}});
  std::array<Waiter, 8> waiters;
  const auto put = [&](size_t waiter, Asked* asked) {
    queue.put({asked->rows(), asked->n_rows()}, nullptr, &waiters[waiter], std::nullopt);
    return waiters[waiter].bell();
  };
  Bell* bell = put(0, &short_row);
  for (const size_t waiter : {1, 2, 3}) EXPECT_EQ(put(waiter, &short_row), bell);
  Bell* next = put(4, &short_row);  // a batch takes four rows
  EXPECT_NE(next, bell);
  Bell *of_long = put(5, &long_row), *of_other = put(6, &long_row);
  EXPECT_EQ((std::set<Bell*>{bell, next, of_long, of_other}.size()), 4u);
  EXPECT_EQ(worker.take(), (std::vector<int64_t>{1, 1, 1, 1}));
  worker.finish();
  ASSERT_EQ(worker.take(), (std::vector<int64_t>{3}));
  for (const size_t waiter : {0, 1, 2, 3}) EXPECT_EQ(waiters[waiter].wait(), nullptr);
  worker.finish();
  ASSERT_EQ(worker.take(), (std::vector<int64_t>{1}));
  Bell* last = put(7, &short_row);  // those with the bell before run already
  EXPECT_NE(last, next);
  for (const auto& batch : {std::vector<int64_t>{3}, std::vector<int64_t>{1}}) {
    worker.finish();
    ASSERT_EQ(worker.take(), batch);
  }
  worker.finish();
  worker.rest();
  for (const size_t waiter : {4, 5, 6, 7}) EXPECT_EQ(waiters[waiter].wait(), nullptr);
}

TEST(BatchQueue, BothLanesTakeTurns) {
  FakeClock clock;
  BatchQueue queue(settings_of(&clock), kStateSize);
  Worker worker(&queue);
  EXPECT_EQ(batches(&queue, &worker, {30, 1, 1, 1, 1, 2, 2}),
            (std::vector<std::vector<int64_t>>{{1, 1, 1, 1}, {8}, {2, 2}, {8}, {8}, {6}}));
}

}  // namespace
}  // namespace recblr
