// A batch: parts of several requests in one run.
#pragma once

#include <exception>
#include <vector>

#include "batching/job.h"

namespace recblr {

// A part, and what became of it.
struct BatchPart {
  Job* job;
  Part part;
  float* scratch;            // of the last piece of a row, which the job has no more; else nullptr
  int64_t end;               // of its rows in the batch's
  std::exception_ptr error;  // why it failed
};

// A run of the backend that succeeded.
struct BatchRun {
  int64_t rows, tokens;
  double seconds;
};

// Belongs to one worker, which uses it again for each of its batches.
struct Batch {
  std::vector<Row> rows;
  std::vector<BatchPart> parts;
  std::vector<BatchRun> runs;
  int64_t raised = 0;      // of the backend's runs
  JobList ended;           // whose callers are to be told
  bool has_place = false;  // the worker is one of those that may run a batch now

  bool empty() const { return parts.empty(); }
  void clear() noexcept;
  // Adds a part; nothing has changed where it throws std::bad_alloc.
  void add(Job* job, const Part& part, const Limits& limits, int64_t state_size);
};

// Runs a batch that is not empty, and notes each part that failed. A run that throws is repeated in halves, down to
// single rows, so that only parts at fault fail, and a batch too large for the memory becomes two.
void run_batch(const Backend& backend, Batch* batch) noexcept;

}  // namespace recblr
