// The callers' side of the queue; the workers' is in queue_workers.cpp.
#include "batching/queue.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/text.h"
#include "batching/failure.h"

namespace recblr {

namespace {

constexpr const char* kClosedMessage = "the engine is closed: make a new one";

// Rows of a larger request are given back to the system after it.
constexpr size_t kMostKeptRows = 256;

thread_local const BatchQueue* telling = nullptr;

}  // namespace

BatchQueue::BatchQueue(const BatchingSettings& settings, int64_t state_size)
    : settings_(settings), state_size_(state_size), scratch_(state_size) {
  for (int worker = 0; worker < settings.workers; ++worker) sleepers_.push_back(std::make_unique<Sleeper>());
  asleep_.reserve(sleepers_.size());
}

double BatchQueue::now() const {
  if (settings_.clock) return settings_.clock();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Ticket BatchQueue::put(const Splitter& rows, Done done, Waiter* waiter, std::optional<double> timeout) {
  if (!timeout) timeout = settings_.timeout;
  const double arrived = now();
  std::unique_lock<std::mutex> lock(mutex_);
  if (full(rows)) {
    JobList expired;
    expire(arrived, &expired);
    tell_and_recycle(&expired, &lock);
  }
  if (closed_) refuse(Code::kClosed, kClosedMessage);
  if (full(rows)) {
    ++counts_.refused;
    lock.unlock();
    refuse(Code::kOverloaded, "no room for " + grouped(rows.n_rows()) + " more rows, where at most " +
                                  grouped(settings_.max_queued_rows) + " rows and " +
                                  grouped(settings_.max_queued_tokens) +
                                  " items may wait: send the request again later, or elsewhere");
  }
  Job* job = jobs_.take();
  job->rows = rows;
  if (waiter == nullptr) {
    try {
      job->copied.assign(rows.rows(), rows.rows() + rows.n_rows());
    } catch (...) {
      jobs_.give(job);
      throw;
    }
    job->rows.moved_to(job->copied.data());
  }
  job->done = std::move(done);
  job->waiter = waiter;
  job->arrived = arrived;
  job->deadline = timeout ? arrived + *timeout : kNever;
  const Ticket ticket = Jobs::ticket(*job);
  ++counts_.accepted;
  const bool nothing_waits = !waits();
  if (nothing_waits && held_.empty()) next_deadline_ = kNever;  // it was that of one that is answered
  const bool earlier = job->deadline < next_deadline_;
  if (earlier) next_deadline_ = job->deadline;
  Lane* lane = lane_of(rows);
  if (lane == &short_) last_short_ = arrived;
  if (waiter != nullptr) waiter->set_bell(bell_of(lane, job));
  push(job);
  // Where a worker knows of something that waits for its delay, or for a place, it looks again when that is over.
  const bool place = worker_may_run();
  const bool start = place && (settings_.max_delay == 0 || nothing_waits || enough(lane->rows, lane->tokens));
  Sleeper* sleeper = start || (earlier && (settings_.max_delay > 0 || !place)) ? wake_one() : nullptr;
  lock.unlock();
  notify(sleeper);
  return ticket;
}

bool BatchQueue::enter(const Splitter& rows) {
  const bool for_short = is_short(rows);
  const double time = for_short ? now() : 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) refuse(Code::kClosed, kClosedMessage);
  // A worker that was woken for what waits has its place; it may come late, where the CPUs are busy.
  const bool others_wait = waits() && waking_ == 0;
  const int places = for_short && time >= crowd_until_ ? settings_.short_places : settings_.workers;
  if (others_wait || busy_ + waking_ >= places) return false;
  if (settings_.max_delay > 0 && !enough(rows.n_rows(), rows.tokens_left())) return false;
  ++busy_;
  ++in_places_;
  if (for_short) {
    ++short_in_places_;
    last_short_ = time;
  }
  return true;
}

void BatchQueue::count(const BatchRun& run) noexcept {
  counts_.batch_rows.add(static_cast<double>(run.rows));
  counts_.batch_tokens += run.tokens;
  counts_.run_seconds.add(run.seconds);
}

void BatchQueue::leave(const Splitter& rows, Outcome outcome, double seconds) noexcept {
  Sleeper* sleeper = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    --busy_;
    --in_places_;
    if (is_short(rows)) --short_in_places_;
    if (outcome == Outcome::kAnswered) {
      ++counts_.answered;
      count({rows.n_rows(), rows.tokens_left(), seconds});
    } else {
      ++counts_.backend_errors;
    }
    if (outcome == Outcome::kFailed) ++counts_.failed;
    if (outcome != Outcome::kAgain) {
      ++counts_.accepted;
      counts_.wait_seconds.add(0);
    }
    if (waits()) sleeper = wake_one();
    note_idle();
  }
  notify(sleeper);
}

bool BatchQueue::cancel(Ticket ticket) noexcept {
  JobList ended;
  std::unique_lock<std::mutex> lock(mutex_);
  Job* job = jobs_.find(ticket);
  if (job == nullptr || job->decided) return false;
  ++counts_.cancelled;
  decide(job, failure(Code::kCancelled, "the request was withdrawn by its caller"), &ended);
  tell_and_recycle(&ended, &lock);
  return true;
}

void BatchQueue::call(const Done& done, std::exception_ptr error) noexcept {
  try {
    done(std::move(error));
  } catch (...) {
    ++done_errors_;
  }
}

void BatchQueue::close() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  wake_all();
  note_idle();
}

void BatchQueue::fail_open(const char* reason, bool running) noexcept {
  JobList ended;
  std::unique_lock<std::mutex> lock(mutex_);
  for (const auto& job : jobs_.all()) {
    if (!job->in_use || job->decided || !(running || job->rows.rows_left() > 0)) continue;
    ++counts_.failed;
    decide(job.get(), failure(Code::kClosed, reason), &ended);
  }
  wake_all();
  tell_and_recycle(&ended, &lock);
}

bool BatchQueue::wait_until_idle(std::optional<double> seconds) {
  constexpr double kLongest = 1e8;
  std::unique_lock<std::mutex> lock(mutex_);
  const auto idle = [this] { return closed_ && workers_left_ == 0 && busy_ == 0 && jobs_.in_use() == 0; };
  if (!seconds || !(*seconds < kLongest)) {
    idle_changed_.wait(lock, idle);
    return true;
  }
  return idle_changed_.wait_for(lock, std::chrono::duration<double>(std::max(0.0, *seconds)), idle);
}

void BatchQueue::worker_started() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++workers_left_;
}

void BatchQueue::worker_ended(Batch* batch) noexcept {
  tell(batch->ended);
  const std::lock_guard<std::mutex> lock(mutex_);
  recycle(&batch->ended);
  give_place_back(batch);
  --workers_left_;
  note_idle();
}

BatcherMetrics BatchQueue::metrics() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  BatcherMetrics metrics = counts_;
  metrics.queued_rows = short_.rows + long_.rows;
  metrics.queued_tokens = short_.tokens + long_.tokens;
  const int64_t ended = counts_.answered + counts_.failed + counts_.expired + counts_.cancelled;
  metrics.open_requests = counts_.accepted - ended + in_places_;
  metrics.running_batches = running_ + in_places_;
  metrics.done_errors = done_errors_;
  return metrics;
}

bool BatchQueue::tells_here() const noexcept { return telling == this; }

// With the lock held, unless it says otherwise.

// Callers with short rows are in nobody's way where there may be more of them than workers.
bool BatchQueue::worker_may_run() const {
  const bool beside = settings_.short_places > settings_.workers;
  return busy_ - (beside ? short_in_places_ : 0) < settings_.workers;
}

bool BatchQueue::full(const Splitter& rows) const {
  return waits() && (short_.rows + long_.rows + rows.rows_left() > settings_.max_queued_rows ||
                     short_.tokens + long_.tokens + rows.tokens_left() > settings_.max_queued_tokens);
}

// Short rows that wait are mostly taken together. Of long ones a batch takes few, and each has a bell for itself.
Bell* BatchQueue::bell_of(Lane* lane, Job* job) noexcept {
  if (lane == &long_) return &job->bell;
  if (lane->bell == nullptr || lane->bell_rows >= settings_.batch.rows) {
    lane->bell = &job->bell;
    lane->bell_rows = 0;
  }
  lane->bell_rows += job->rows.n_rows();
  return lane->bell;
}

void BatchQueue::push(Job* job) noexcept {
  Lane* lane = lane_of(job->rows);
  lane->push_back(job);
  job->place = lane == &short_ ? Job::Place::kShort : Job::Place::kLong;
}

void BatchQueue::remove(Job* job) noexcept {
  if (job->place == Job::Place::kShort) short_.remove(job);
  if (job->place == Job::Place::kLong) long_.remove(job);
  if (job->place == Job::Place::kHeld) held_.remove(job);
  job->place = Job::Place::kNone;
}

void BatchQueue::decide(Job* job, std::exception_ptr error, JobList* ended) noexcept {
  job->decided = true;
  job->error = std::move(error);
  remove(job);
  if (job->running == 0) end(job, ended);
  if (closed_) wake_all();  // it may have been the last for which they stayed
}

void BatchQueue::end(Job* job, JobList* ended) noexcept {
  if (job->scratch != nullptr) scratch_.give(std::exchange(job->scratch, nullptr));
  ended->push_back(job);
}

void BatchQueue::expire(double now, JobList* ended) noexcept {
  if (now < next_deadline_) return;
  next_deadline_ = kNever;
  for (const JobList* jobs : {&short_.jobs, &long_.jobs, &held_}) {
    for (Job *job = jobs->first(), *next = nullptr; job != nullptr; job = next) {
      next = job->next;
      if (job->deadline > now) {
        next_deadline_ = std::min(next_deadline_, job->deadline);
        continue;
      }
      ++counts_.expired;
      decide(job, late(now - job->arrived), ended);
    }
  }
}

// Without the lock: callers may do anything, even send a request or destroy the batcher.
void BatchQueue::tell(const JobList& ended) noexcept {
  ring(ended);
  const BatchQueue* outer = std::exchange(telling, this);
  for (Job *job = ended.first(), *next = nullptr; job != nullptr; job = next) {
    next = job->next;
    if (job->copied.capacity() > kMostKeptRows) std::vector<Row>().swap(job->copied);
    const Done done = std::exchange(job->done, nullptr);
    if (done) call(done, std::exchange(job->error, nullptr));
  }
  telling = outer;
}

// Without the lock: answers the threads that wait, and wakes them.
void BatchQueue::ring(const JobList& ended) noexcept {
  Bell* silent = nullptr;
  for (Job* job = ended.first(); job != nullptr; job = job->next) {
    if (job->waiter == nullptr) continue;
    Bell* bell = job->waiter->bell();
    job->waiter->answer(std::exchange(job->error, nullptr));
    if (silent != nullptr && silent != bell) silent->ring();
    silent = bell;
  }
  if (silent != nullptr) silent->ring();
}

void BatchQueue::recycle(JobList* ended) noexcept {
  while (Job* job = ended->pop_front()) {
    job->waiter = nullptr;
    job->started = job->decided = false;
    jobs_.give(job);
  }
  note_idle();
}

void BatchQueue::tell_and_recycle(JobList* ended, std::unique_lock<std::mutex>* lock) noexcept {
  if (ended->empty()) return;
  lock->unlock();
  tell(*ended);
  lock->lock();
  recycle(ended);
}

void BatchQueue::note_idle() noexcept {
  if (closed_ && busy_ == 0 && jobs_.in_use() == 0) idle_changed_.notify_all();
}

}  // namespace recblr
