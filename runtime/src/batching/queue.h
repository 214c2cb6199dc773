// The queue of a batcher: requests wait in two lanes for its workers, bounded, with deadlines.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batching/batch.h"
#include "batching/jobs.h"
#include "batching/metrics.h"
#include "batching/scratch.h"
#include "batching/settings.h"

namespace recblr {

// How a run in its caller's thread ended; kAgain where its rows go to the queue and are run once more.
enum class Outcome { kAnswered, kFailed, kAgain };

// Takes requests from any thread, and gives workers their batches. Short rows and long ones take turns, so that a batch
// of one kind waits for at most one of the other. Callers are told without the lock.
class BatchQueue {
 public:
  // `settings` are `checked`. Throws std::bad_alloc.
  BatchQueue(const BatchingSettings& settings, int64_t state_size);

  // Callers' side.

  // Takes a request. Its rows are copied if there is a `done`, and stay otherwise until `waiter` is answered. Throws
  // Error(kOverloaded, kClosed), std::bad_alloc.
  Ticket put(const Splitter& rows, Done done, Waiter* waiter, std::optional<double> timeout);
  // Whether a caller may run rows, which fit into a batch, in its own thread, since a place is free, a worker's or one
  // for short rows, and nothing waits but for a worker that was woken; it must `leave` after, with the seconds that the
  // run took. Throws Error(kClosed).
  bool enter(const Splitter& rows);
  void leave(const Splitter& rows, Outcome outcome, double seconds) noexcept;
  // False where it is decided how the request ends.
  bool cancel(Ticket ticket) noexcept;

  // Workers' side; `worker` from 0 on.

  // Tells the callers of the worker's last batch, and waits for the next one; false once the queue is closed and empty.
  // The worker keeps its place in between, so that callers do not take it while many wait.
  bool take(Batch* batch, int worker);
  // Ends a batch that `take` gave.
  void finish(Batch* batch) noexcept;

  // Calls a caller's `done`, which must not throw; one that does is counted.
  void call(const Done& done, std::exception_ptr error) noexcept;

  // Takes no more requests; those that wait are still answered.
  void close() noexcept;
  // Fails, with Error(kClosed), requests of which something waits; with `running` also those that run, whose callers
  // are told once their parts have ended.
  void fail_open(const char* reason, bool running) noexcept;
  // Waits until it is closed, all workers have ended, no caller runs rows, and all callers were told; false where that
  // takes more seconds.
  bool wait_until_idle(std::optional<double> seconds);
  // Counts a worker that starts; or one that ends, tells the callers of its last batch, and gives its place back.
  void worker_started() noexcept;
  void worker_ended(Batch* batch) noexcept;

  BatcherMetrics metrics() const;

  // Whether this thread is telling callers of this queue how their requests ended.
  bool tells_here() const noexcept;

 private:
  // A worker that has nothing to do.
  struct Sleeper {
    std::condition_variable changed;
    bool woken = false;
  };

  double now() const;
  bool waits() const { return short_.rows > 0 || long_.rows > 0; }
  bool enough(int64_t rows, int64_t tokens) const {
    return rows >= settings_.enough_rows || tokens >= settings_.enough_tokens;
  }
  bool full(const Splitter& rows) const;
  bool worker_may_run() const;
  bool is_short(const Splitter& rows) const { return rows.longest() <= settings_.short_tokens; }
  Lane* lane_of(const Splitter& rows) { return is_short(rows) ? &short_ : &long_; }
  Bell* bell_of(Lane* lane, Job* job) noexcept;
  void push(Job* job) noexcept;
  void remove(Job* job) noexcept;
  // Decides how a job ends; with nullptr it was answered.
  void decide(Job* job, std::exception_ptr error, JobList* ended) noexcept;
  void end(Job* job, JobList* ended) noexcept;
  void expire(double now, JobList* ended) noexcept;
  // Tells callers; without the lock. They are still to be recycled.
  void tell(const JobList& ended) noexcept;
  static void ring(const JobList& ended) noexcept;
  void recycle(JobList* ended) noexcept;
  void tell_and_recycle(JobList* ended, std::unique_lock<std::mutex>* lock) noexcept;

  Lane* choose(double now, double* seconds) noexcept;
  int64_t tokens_for(const Lane& lane, double now) const;
  void fill(Lane* lane, double now, Batch* batch) noexcept;
  void finish_part(BatchPart* part, JobList* ended) noexcept;
  void count(const BatchRun& run) noexcept;
  void give_place_back(Batch* batch) noexcept;
  void sleep(int worker, double seconds, std::unique_lock<std::mutex>* lock);
  // The worker to be woken, by `notify`, or nullptr: one at a time, which wakes the next where there is more to do.
  Sleeper* wake_one() noexcept;
  void wake_all() noexcept;
  static void notify(Sleeper* sleeper) noexcept;
  void note_idle() noexcept;

  const BatchingSettings settings_;
  const int64_t state_size_;

  mutable std::mutex mutex_;
  std::condition_variable idle_changed_;
  Jobs jobs_;
  ScratchPool scratch_;
  Lane short_, long_;
  JobList held_;  // a piece of a row runs, and the rest waits for its state
  bool long_next_ = false;
  double last_short_ = -kNever;      // when the last short request came
  double next_deadline_ = kNever;    // none that waits has an earlier one
  int busy_ = 0;                     // places in use: workers that have one, and callers
  int running_ = 0, in_places_ = 0;  // batches of workers, and callers, that run
  int short_in_places_ = 0;          // of the callers
  double crowd_until_ = -kNever;     // many threads wait for short rows
  int workers_left_ = 0;
  bool closed_ = false;
  std::vector<std::unique_ptr<Sleeper>> sleepers_;  // one for each worker
  std::vector<Sleeper*> asleep_;                    // the latest is last, and is woken first
  int waking_ = 0;                                  // woken, and not running yet
  BatcherMetrics counts_;
  std::atomic<int64_t> done_errors_{0};
};

}  // namespace recblr
