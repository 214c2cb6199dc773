// The queue by itself: callers and workers are a sequence of calls, in any order, and time is given.
#include "batching/queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "batching/fakes.h"

namespace recblr {
namespace {

BatchingSettings settings_of(FakeClock* clock, int workers = 1) {
  BatchingSettings settings = small_settings(workers);
  settings.max_queued_rows = 12;
  settings.max_queued_tokens = 60;
  settings.clock = clock->reader();
  return settings;
}

BatchingSettings large_settings(FakeClock* clock, int workers = 1) {
  BatchingSettings settings = settings_of(clock, workers);
  settings.batch = {64, 1000, 1000};
  settings.enough_rows = 64;
  settings.enough_tokens = 1000;
  settings.max_queued_rows = 100;
  settings.max_queued_tokens = 100000;
  return settings;
}

Ticket put(BatchQueue* queue, Asked* asked, std::optional<double> timeout = std::nullopt) {
  return queue->put({asked->rows(), asked->n_rows()}, asked->done(), nullptr, timeout);
}

std::vector<int64_t> lengths(const Batch& batch) {
  std::vector<int64_t> result;
  for (const BatchPart& part : batch.parts) result.push_back(part.part.tokens);
  return result;
}

void compute(Batch* batch) {
  for (const Row& row : batch->rows) FakeBackend::answer(row);
  batch->runs.emplace_back(static_cast<int64_t>(batch->rows.size()), 0);
}

// A worker that the test moves from step to step.
class Worker {
 public:
  explicit Worker(BatchQueue* queue, int number = 0) : queue_(queue), number_(number) { queue->worker_started(); }
  std::vector<int64_t> take() {
    if (!queue_->take(&batch, number_)) return {-1};
    return lengths(batch);
  }
  void finish() {
    compute(&batch);
    queue_->finish(&batch);
  }
  // Tells callers, and has no place any more.
  void rest() {
    queue_->worker_ended(&batch);
    queue_->worker_started();
  }
  Batch batch;

 private:
  BatchQueue* queue_;
  int number_;
};

// The requests, callers and workers of one random interleaving, and what should become of them.
class Interleaving {
 public:
  Interleaving(uint32_t seed, int workers)
      : random_(seed), workers_(workers), queue_(settings_of(&clock_, workers), kStateSize) {
    for (int worker = 0; worker < workers; ++worker) {
      threads_.push_back(std::make_unique<Worker>(&queue_, worker));
      states_.push_back(State::kResting);
    }
  }

  void step() {
    const size_t worker = random_() % threads_.size();
    switch (random_() % 9) {
      case 0:
      case 1:
        return put_one();
      case 2:
        return enter();
      case 3:
        return leave();
      case 4:
      case 5:
        return take(worker);
      case 6:
        return finish(worker, random_() % 4 == 0);
      case 7:
        if (!asked_.empty()) cancel(random_() % asked_.size());
        return;
      default:
        clock_.advance(random_() % 20 == 0 ? 1e9 : random_() % 2 == 0 ? 0.5 : 3.0);
    }
  }

  void end() {
    queue_.close();
    while (!entered_.empty()) leave();
    for (size_t worker = 0; worker < threads_.size(); ++worker) finish(worker, false);
    for (size_t worker = 0; worker < threads_.size(); ++worker) {
      while (queue_.take(&threads_[worker]->batch, static_cast<int>(worker))) threads_[worker]->finish();
      queue_.worker_ended(&threads_[worker]->batch);
    }
    EXPECT_TRUE(queue_.wait_until_idle(0.0));
    int64_t answered = answered_alone_, failed = failed_alone_, expired = 0, cancelled = 0;
    for (const auto& request : asked_) {
      ASSERT_EQ(request->asked.calls(), 1);
      const std::string message = request->asked.wait();
      switch (request->asked.code) {
        case Code::kOk:
          ++answered;
          EXPECT_EQ(request->asked.scores(), request->asked.expected());
          break;
        case Code::kBackend:
          ++failed;
          EXPECT_TRUE(request->failed);
          break;
        case Code::kDeadline:
          ++expired;
          EXPECT_LE(request->deadline, clock_.now());
          break;
        case Code::kCancelled:
          ++cancelled;
          EXPECT_TRUE(request->cancelled);
          break;
        default:
          ADD_FAILURE() << message;
      }
    }
    const BatcherMetrics metrics = queue_.metrics();
    EXPECT_EQ(metrics.accepted, static_cast<int64_t>(asked_.size()) + answered_alone_ + failed_alone_);
    EXPECT_EQ(metrics.refused, refused_);
    EXPECT_EQ(metrics.answered, answered);
    EXPECT_EQ(metrics.failed, failed);
    EXPECT_EQ(metrics.expired, expired);
    EXPECT_EQ(metrics.cancelled, cancelled);
    EXPECT_EQ(metrics.open_requests + metrics.queued_rows + metrics.queued_tokens + metrics.running_batches, 0);
  }

 private:
  enum class State { kResting, kRunning, kBetween };

  struct Asking {
    Asking(Lists lists, Lists exclude) : asked(std::move(lists), std::move(exclude)) {}
    Asked asked;
    double deadline = kNever;
    Ticket ticket = 0;
    bool taken = false, held = false, failed = false, cancelled = false;
  };

  int busy() const {
    const auto idle = std::count(states_.begin(), states_.end(), State::kResting);
    return workers_ - static_cast<int>(idle) + static_cast<int>(entered_.size());
  }
  // Whether a worker with a place finds a batch at once.
  bool ready() const {
    return std::any_of(asked_.begin(), asked_.end(), [this](const auto& request) {
      return !request->asked.is_told() && !request->taken && !request->held && !request->cancelled &&
             !request->failed && request->deadline > clock_.now();
    });
  }

  void put_one() {
    Lists lists(1 + random_() % 6), exclude(lists.size());
    for (auto& list : lists) {
      list.resize(random_() % 21);
      for (int32_t& item : list) item = static_cast<int32_t>(1 + random_() % 50);
    }
    for (auto& list : exclude) list.resize(random_() % 5, 3);
    auto request = std::make_unique<Asking>(std::move(lists), std::move(exclude));
    std::optional<double> timeout;
    if (random_() % 3 > 0) timeout = random_() % 2 == 0 ? 1.0 : 5.0;
    try {
      request->ticket = put(&queue_, &request->asked, timeout);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kOverloaded);
      ++refused_;
      return;
    }
    if (timeout) request->deadline = clock_.now() + *timeout;
    asked_.push_back(std::move(request));
  }

  void enter() {
    auto rows = std::make_unique<Asked>(Lists(1 + random_() % 4, std::vector<int32_t>(random_() % 3, 1)));
    const bool may = busy() < workers_ && queue_.metrics().queued_rows == 0;
    EXPECT_EQ(queue_.enter({rows->rows(), rows->n_rows()}), may);
    if (may) entered_.push_back(std::move(rows));
  }
  void leave() {
    if (entered_.empty()) return;
    const auto outcome = static_cast<Outcome>(random_() % 3);
    answered_alone_ += outcome == Outcome::kAnswered;
    failed_alone_ += outcome == Outcome::kFailed;
    queue_.leave({entered_.back()->rows(), entered_.back()->n_rows()}, outcome);
    entered_.pop_back();
  }

  Asking* of(const Job* job) {
    for (const auto& request : asked_) {
      if (request->ticket == Jobs::ticket(*job)) return request.get();
    }
    return nullptr;
  }

  void take(size_t worker) {
    State* state = &states_[worker];
    if (*state == State::kRunning) return;
    if (!ready() || (*state == State::kResting && busy() >= workers_)) {
      if (*state == State::kBetween) threads_[worker]->rest();
      *state = State::kResting;
      return;
    }
    ASSERT_TRUE(queue_.take(&threads_[worker]->batch, static_cast<int>(worker)));
    *state = State::kRunning;
    const Batch& batch = threads_[worker]->batch;
    int64_t tokens = 0, exclusions = 0;
    for (const Row& row : batch.rows) {
      tokens += row.n_items;
      exclusions += row.exclude.count;
    }
    EXPECT_LE(batch.rows.size(), static_cast<size_t>(kSmall.rows));
    EXPECT_LE(tokens, kSmall.tokens);
    if (batch.rows.size() > 1) EXPECT_LE(exclusions, kSmall.exclusions);
    for (const BatchPart& part : batch.parts) {
      Asking* request = of(part.job);
      ASSERT_NE(request, nullptr);
      EXPECT_GT(request->deadline, clock_.now());
      request->taken = part.job->rows.rows_left() == 0;
      request->held = !part.part.last;
    }
  }

  void finish(size_t worker, bool fails) {
    if (states_[worker] != State::kRunning) return;
    Batch* batch = &threads_[worker]->batch;
    compute(batch);
    for (BatchPart& part : batch->parts) {
      Asking* request = of(part.job);
      ASSERT_NE(request, nullptr);
      if (!part.part.last) request->held = false;
      if (!fails) continue;
      request->failed = true;
      part.error = std::make_exception_ptr(Error(Code::kBackend, "failed"));
    }
    queue_.finish(batch);
    states_[worker] = State::kBetween;
  }

  void cancel(size_t n) {
    Asking* request = asked_[n].get();
    const int64_t before = queue_.metrics().queued_rows;
    if (!queue_.cancel(request->ticket)) return;
    EXPECT_FALSE(request->cancelled);
    request->cancelled = true;
    EXPECT_LE(queue_.metrics().queued_rows, before);
    EXPECT_FALSE(queue_.cancel(request->ticket));
  }

  std::mt19937 random_;
  const int workers_;
  FakeClock clock_;
  BatchQueue queue_;
  std::vector<std::unique_ptr<Worker>> threads_;
  std::vector<State> states_;
  std::vector<std::unique_ptr<Asking>> asked_;
  std::vector<std::unique_ptr<Asked>> entered_;
  int64_t refused_ = 0, answered_alone_ = 0, failed_alone_ = 0;
};

TEST(BatchQueue, EveryRequestEndsOnceAndRightInAnyInterleaving) {
  for (uint32_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    Interleaving interleaving(seed, 1 + static_cast<int>(seed % 3));
    for (int step = 0; step < 80; ++step) interleaving.step();
    interleaving.end();
    if (::testing::Test::HasFailure()) return;
  }
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
  queue.leave({full.rows(), 1}, Outcome::kAnswered);
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
  queue.leave(rows, Outcome::kAnswered);
  ASSERT_EQ(taken.wait_for(kWait), std::future_status::ready);
  EXPECT_EQ(taken.get(), (std::vector<int64_t>{1}));
  worker.finish();
  queue.close();
  EXPECT_EQ(error_of([&] { queue.enter(rows); }).second, Code::kClosed);
  queue.worker_ended(&worker.batch);
  EXPECT_FALSE(queue.wait_until_idle(0.01));
  queue.leave(rows, Outcome::kFailed);
  EXPECT_TRUE(queue.wait_until_idle(0.0));
  const BatcherMetrics metrics = queue.metrics();
  EXPECT_EQ(metrics.accepted, 3);
  EXPECT_EQ(metrics.answered, 2);
  EXPECT_EQ(metrics.failed, 1);
  EXPECT_EQ(metrics.backend_errors, 1);
  EXPECT_EQ(metrics.open_requests, 0);
  EXPECT_EQ(metrics.batch_rows.total, 2);
}

TEST(BatchQueue, ARequestThatWaitsForAPlaceExpiresInTime) {
  BatchingSettings settings = small_settings();
  BatchQueue queue(settings, kStateSize);
  Worker worker(&queue);
  const Asked own(Lists{{1}});
  const Splitter rows(own.rows(), 1);
  ASSERT_TRUE(queue.enter(rows));
  auto taken = std::async(std::launch::async, [&] { return worker.take(); });
  Asked late(Lists{{2}});
  put(&queue, &late, 0.01);
  EXPECT_EQ(late.wait().substr(0, 18), "the request waited");  // told by the worker, which has no place
  queue.close();
  EXPECT_EQ(taken.get(), (std::vector<int64_t>{-1}));
  queue.leave(rows, Outcome::kAnswered);
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
      queue.leave({step.rows(), 1}, Outcome::kAnswered);
    } else {
      batches(&queue, &worker, {1});
    }
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 5u);  // half the limit
    EXPECT_EQ(batches(&queue, &worker, {900}).front(), std::vector<int64_t>{900});  // a row is not cut for that
    clock.advance(0.9);
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 5u);
    clock.advance(0.2);
    EXPECT_EQ(batches(&queue, &worker, many).front().size(), 11u);
  }
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
