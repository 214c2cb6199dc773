// What tests of the queue by itself share: a worker that the test moves from step to step.
#pragma once

#include <optional>
#include <vector>

#include "batching/fakes.h"
#include "batching/queue.h"

namespace recblr {

inline BatchingSettings settings_of(FakeClock* clock, int workers = 1) {
  BatchingSettings settings = small_settings(workers);
  settings.max_queued_rows = 12;
  settings.max_queued_tokens = 60;
  settings.clock = clock->reader();
  return settings;
}

inline Ticket put(BatchQueue* queue, Asked* asked, std::optional<double> timeout = std::nullopt) {
  return queue->put({asked->rows(), asked->n_rows()}, asked->done(), nullptr, timeout);
}

inline std::vector<int64_t> lengths(const Batch& batch) {
  std::vector<int64_t> result;
  for (const BatchPart& part : batch.parts) result.push_back(part.part.tokens);
  return result;
}

inline void compute(Batch* batch) {
  for (const Row& row : batch->rows) FakeBackend::answer(row);
  batch->runs.push_back({static_cast<int64_t>(batch->rows.size()), 0, 0});
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

}  // namespace recblr
