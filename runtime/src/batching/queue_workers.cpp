// The workers' side of the queue: what the next batch is, and how a batch ends.
#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "batching/failure.h"
#include "batching/queue.h"

namespace recblr {

namespace {

// Fewer items are not shared among workers: a run of its own would cost more than their waiting.
constexpr int64_t kFewestSharedTokens = 128;

// Where small batches are hardly dearer, a worker takes its share of what waits in so many batches: a few rows that
// wait are answered one after the other, sooner than together, and many still fill batches.
constexpr int64_t kSharesOfWorker = 4;

// For so many seconds after a short row came, batches of long ones are cut to this share of the limit: others will
// come, and wait for them. Without any, large batches leave more of the CPUs to the backend.
constexpr double kShortExpectedSeconds = 1.0;
constexpr double kShareWhileShortCome = 0.5;

// Where a batch answers so many threads that wait, they are a crowd, and for so many seconds more of them do not run
// their own rows than there are workers: merged rows are that much cheaper.
constexpr int kCrowd = 8;
constexpr double kCrowdSeconds = 0.005;

// A worker looks again after so many seconds, since waits are bounded by the platform.
constexpr double kLongestWait = 3600.0;

}  // namespace

bool BatchQueue::take(Batch* batch, int worker) {
  if (!batch->ended.empty()) tell(batch->ended);
  std::unique_lock<std::mutex> lock(mutex_);
  recycle(&batch->ended);
  batch->clear();
  for (;;) {
    const double time = now();
    expire(time, &batch->ended);
    if (!batch->ended.empty()) {
      tell_and_recycle(&batch->ended, &lock);
      continue;
    }
    double seconds = kNever;
    Lane* lane = batch->has_place || worker_may_run() ? choose(time, &seconds) : nullptr;
    if (lane != nullptr) {
      if (!batch->has_place) ++busy_;
      batch->has_place = true;
      fill(lane, time, batch);
      if (batch->empty()) continue;  // there was no memory for it
      ++running_;
      Sleeper* sleeper = waits() && worker_may_run() ? wake_one() : nullptr;
      lock.unlock();
      notify(sleeper);
      return true;
    }
    give_place_back(batch);
    if (closed_ && !waits() && held_.empty()) return false;
    if (waits() || !held_.empty()) seconds = std::min(seconds, next_deadline_ - time);
    sleep(worker, seconds, &lock);
  }
}

void BatchQueue::finish(Batch* batch) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  --running_;
  counts_.backend_errors += batch->raised;
  for (const BatchRun& run : batch->runs) count(run);
  for (BatchPart& part : batch->parts) finish_part(&part, &batch->ended);
  if (closed_) wake_all();
}

void BatchQueue::finish_part(BatchPart* part, JobList* ended) noexcept {
  Job* job = part->job;
  if (part->scratch != nullptr) scratch_.give(std::exchange(part->scratch, nullptr));
  --job->running;
  if (job->decided) {  // withdrawn, expired or failed by another part
    if (job->running == 0) end(job, ended);
  } else if (part->error != nullptr) {
    ++counts_.failed;
    decide(job, std::move(part->error), ended);
  } else if (!part->part.last) {
    remove(job);
    push(job);
    next_deadline_ = std::min(next_deadline_, job->deadline);
  } else if (job->running == 0 && job->rows.rows_left() == 0) {
    ++counts_.answered;
    decide(job, nullptr, ended);
  }
}

void BatchQueue::give_place_back(Batch* batch) noexcept {
  if (!batch->has_place) return;
  batch->has_place = false;
  --busy_;
  note_idle();
}

// The lane whose batch may start; nullptr, and after how many seconds one may, if one waits for more.
Lane* BatchQueue::choose(double now, double* seconds) noexcept {
  Lane* lanes[] = {long_next_ ? &long_ : &short_, long_next_ ? &short_ : &long_};
  for (Lane* lane : lanes) {
    const Job* front = lane->jobs.first();
    if (front == nullptr) continue;
    const double left = front->arrived + settings_.max_delay - now;
    if (left <= 0 || enough(lane->rows, lane->tokens) || closed_) {
      long_next_ = lane == &short_;
      return lane;
    }
    *seconds = std::min(*seconds, left);
  }
  return nullptr;
}

// The most items of the next batch of a lane, which is not empty. For long rows a worker's share of what waits, as the
// other workers will be free soon, and no more than short rows should wait for.
int64_t BatchQueue::tokens_for(const Lane& lane, double now) const {
  const int64_t limit = settings_.batch.tokens;
  if (&lane == &short_) return limit;
  const int64_t divided = settings_.workers * (settings_.enough_tokens < limit ? kSharesOfWorker : 1);
  int64_t share =
      std::max(std::min(settings_.enough_tokens, kFewestSharedTokens), (lane.tokens + divided - 1) / divided);
  if (now - last_short_ < kShortExpectedSeconds) {
    share = std::min(share, static_cast<int64_t>(static_cast<double>(limit) * kShareWhileShortCome));
  }
  return std::min(limit, std::max(share, lane.jobs.first()->rows.tokens_left_in_row()));
}

void BatchQueue::fill(Lane* lane, double now, Batch* batch) noexcept {
  const Limits& limits = settings_.batch;
  Limits room = limits;
  room.tokens = tokens_for(*lane, now);
  JobList again;  // their other rows go behind those of others
  int n_waiters = 0;
  lane->bell = nullptr;
  while (room.rows > 0 && !lane->jobs.empty()) {
    Job* job = lane->jobs.first();
    const int64_t rows = job->rows.rows_left(), tokens = job->rows.tokens_left();
    const Part part = job->rows.take(room, limits, batch->empty());
    if (part.n_rows == 0) break;
    lane->remove(job, rows, tokens);
    job->place = Job::Place::kNone;
    try {
      if (!part.last && job->scratch == nullptr) job->scratch = scratch_.take();
      batch->add(job, part, limits, state_size_);
    } catch (...) {  // std::bad_alloc
      ++counts_.failed;
      decide(job, no_memory(), &batch->ended);
      continue;
    }
    if (!job->started) counts_.wait_seconds.add(std::max(0.0, now - job->arrived));
    job->started = true;
    ++job->running;
    if (job->waiter != nullptr) ++n_waiters;
    room.rows -= part.n_rows;
    room.tokens -= part.tokens;
    room.exclusions -= part.exclusions;
    if (!part.last) {
      held_.push_back(job);
      job->place = Job::Place::kHeld;
      break;
    }
    if (job->rows.rows_left() > 0) again.push_back(job);
  }
  while (Job* job = again.pop_front()) push(job);
  if (n_waiters >= kCrowd) crowd_until_ = now + kCrowdSeconds;
}

void BatchQueue::sleep(int worker, double seconds, std::unique_lock<std::mutex>* lock) {
  Sleeper* self = sleepers_[static_cast<size_t>(worker)].get();
  self->woken = false;
  asleep_.push_back(self);
  const auto woken = [self] { return self->woken; };
  if (seconds == kNever) {
    self->changed.wait(*lock, woken);
  } else {
    const double bounded = std::min(std::max(seconds, 0.0), kLongestWait);
    self->changed.wait_for(*lock, std::chrono::duration<double>(bounded), woken);
  }
  if (self->woken) {
    --waking_;
  } else {
    asleep_.erase(std::find(asleep_.begin(), asleep_.end(), self));
  }
}

BatchQueue::Sleeper* BatchQueue::wake_one() noexcept {
  if (asleep_.empty() || waking_ > 0) return nullptr;
  Sleeper* sleeper = asleep_.back();
  asleep_.pop_back();
  sleeper->woken = true;
  ++waking_;
  return sleeper;
}

void BatchQueue::wake_all() noexcept {
  while (!asleep_.empty()) {
    Sleeper* sleeper = asleep_.back();
    asleep_.pop_back();
    sleeper->woken = true;
    ++waking_;
    sleeper->changed.notify_one();
  }
}

void BatchQueue::notify(Sleeper* sleeper) noexcept {
  if (sleeper != nullptr) sleeper->changed.notify_one();
}

}  // namespace recblr
