// The queue by itself: calls of callers and workers in any order.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "batching/fakes.h"
#include "batching/queue.h"
#include "batching/queue_steps.h"

namespace recblr {
namespace {

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
    queue_.leave({entered_.back()->rows(), entered_.back()->n_rows()}, outcome, 0);
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
    if (batch.rows.size() > 1) {
      EXPECT_LE(exclusions, kSmall.exclusions);
    }
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

}  // namespace
}  // namespace recblr
