// A request in a batcher, from when it is taken to when its caller was told.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <vector>

#include "batching/executor.h"
#include "batching/splitter.h"
#include "batching/waiter.h"

namespace recblr {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Jobs are used again: nothing is taken from the heap for a request once there are as many as are open at once. The
// queue's lock covers all of it until the job has ended, and then it belongs to whoever tells the caller.
struct Job {
  enum class Place : uint8_t { kNone, kShort, kLong, kHeld };

  Splitter rows;
  std::vector<Row> copied;   // of a request that nobody waits for in `run`
  Done done;                 // either
  Waiter* waiter = nullptr;  // or
  Bell bell;                 // of its waiter and of others that came after it
  double arrived = 0, deadline = kNever;
  int running = 0;           // parts
  bool started = false;      // a part was taken
  bool decided = false;      // how it ends; parts that run may still write to its caller's memory
  std::exception_ptr error;  // of a decided one; nullptr if it was answered
  float* scratch = nullptr;  // of a row whose pieces run

  Place place = Place::kNone;  // where it waits
  Job* next = nullptr;
  Job* before = nullptr;

  uint32_t slot = 0, generation = 1;
  bool in_use = false;
};

// Jobs in a row; one job is in at most one such list.
class JobList {
 public:
  bool empty() const { return first_ == nullptr; }
  Job* first() const { return first_; }

  void push_back(Job* job) noexcept {
    job->next = nullptr;
    job->before = last_;
    (last_ == nullptr ? first_ : last_->next) = job;
    last_ = job;
  }
  void remove(Job* job) noexcept {
    (job->before == nullptr ? first_ : job->before->next) = job->next;
    (job->next == nullptr ? last_ : job->next->before) = job->before;
    job->next = job->before = nullptr;
  }
  Job* pop_front() noexcept {
    Job* job = first_;
    if (job != nullptr) remove(job);
    return job;
  }

 private:
  Job* first_ = nullptr;
  Job* last_ = nullptr;
};

// Jobs of one kind that wait, in order of arrival; what is left of a job after a part goes to the end.
struct Lane {
  JobList jobs;
  int64_t rows = 0, tokens = 0;
  Bell* bell = nullptr;   // of the waiters that came last, and likely run together
  int64_t bell_rows = 0;  // of the waiters that have it

  void push_back(Job* job) noexcept {
    jobs.push_back(job);
    rows += job->rows.rows_left();
    tokens += job->rows.tokens_left();
  }
  void remove(Job* job) noexcept { remove(job, job->rows.rows_left(), job->rows.tokens_left()); }
  // Of which so many rows and tokens waited.
  void remove(Job* job, int64_t its_rows, int64_t its_tokens) noexcept {
    jobs.remove(job);
    rows -= its_rows;
    tokens -= its_tokens;
  }
};

}  // namespace recblr
