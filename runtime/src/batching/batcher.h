// Merges the requests of concurrent callers into batches.
#pragma once

#include <memory>

#include "batching/executor.h"
#include "batching/metrics.h"
#include "batching/settings.h"

namespace recblr {

// Rows of at most short_tokens items (steps) and longer ones wait apart and take turns. A worker that is free takes
// what waits at once; while all are busy, requests gather and go together, as many as the limits allow. A caller of
// `run` that finds nothing waiting and a worker's place free computes its rows itself, in that place: a lone request is
// handed to nobody. A run that fails is repeated in halves, down to single rows, so that only the request at fault gets
// the error. Results are those of the same request alone. After warm-up, a request takes no memory from the heap but
// what its `done` holds.
//
// Of long rows that wait, a worker takes its share, so that none is idle while another computes them all, and while
// steps come, half of batch.tokens at most. Time is looked at between batches: a run is never interrupted.
class Batcher : public Executor {
 public:
  // Starts the workers, which block all signals. `state_size` is S of the rows' states. Throws Error(kConfig) for a
  // setting out of its range, or where the system gives no more threads.
  Batcher(std::shared_ptr<const Backend> backend, int64_t state_size, const BatchingSettings& settings);
  // Closes, draining, for at most ten seconds; a run that does not end by then is left behind with what it needs. May
  // be called by a `done`; it then waits for nothing. In a fork it leaves the parent's threads alone.
  ~Batcher() override;

  // Throws Error(kInvalidArgument) in a `done` that a worker calls, where it would wait for itself.
  void run(const Row* rows, int64_t n_rows, std::optional<double> timeout = std::nullopt) override;
  bool run_now(const Row* rows, int64_t n_rows) override;
  Ticket submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout = std::nullopt,
                bool may_run_here = false) override;
  bool cancel(Ticket ticket) override;
  std::string description() const override;
  void close(bool drain, std::optional<double> timeout) override;

  BatcherMetrics metrics() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
