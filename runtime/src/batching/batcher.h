// Merges the requests of concurrent callers into batches.
#pragma once

#include <functional>
#include <memory>

#include "batching/executor.h"
#include "batching/metrics.h"

namespace recblr {

struct BatchingSettings {
  Limits batch{64, 2560, 65536};  // of one run; clamped to the backend's own
  int64_t enough_rows = 32;       // so many rows, or tokens, are a batch that waits for no more
  int64_t enough_tokens = 96;
  double max_delay = 0.0;          // seconds that a free worker waits for more before it starts a smaller batch
  int64_t max_queued_rows = 4096;  // a request beyond is refused, unless nothing waits
  int64_t max_queued_tokens = 1048576;
  std::optional<double> timeout;  // seconds that a request may wait where it does not say
  int64_t short_tokens = 16;      // the longest row that counts as short
  int workers = 0;                // threads, and how many runs there are at once; 0 for one per usable CPU
  std::function<double()> clock;  // seconds, never going back; empty for the system's monotonic clock
};

// Rows of at most short_tokens items (steps) and longer ones wait apart and take turns. A worker that is free takes
// what waits at once; while all are busy, requests gather and go together, as many as the limits allow. A caller of
// `run` that finds nothing waiting and a worker's place free computes its rows itself, in that place: a lone request is
// handed to nobody. A run that fails is repeated in halves, down to single rows, so that only the request at fault gets
// the error. Results are those of the same request alone. After warm-up, a request takes no memory from the heap but
// what its `done` holds.
class Batcher : public Executor {
 public:
  // Starts the workers. Throws Error(kConfig) for a setting out of its range.
  Batcher(std::shared_ptr<const Backend> backend, const BatchingSettings& settings);
  // Closes, draining, for at most ten seconds.
  ~Batcher() override;

  void run(const Row* rows, int64_t n_rows, std::optional<double> timeout) override;
  Ticket submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout) override;
  bool cancel(Ticket ticket) override;
  std::string description() const override;
  void close(bool drain, std::optional<double> timeout) override;

  BatcherMetrics metrics() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
