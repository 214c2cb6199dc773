// The threads of a batcher.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "batching/queue.h"

namespace recblr {

// What the workers of a batcher share, and keep as long as they run.
struct SharedWork {
  SharedWork(std::shared_ptr<const Backend> runs, const BatchingSettings& settings, int64_t state_size)
      : backend(std::move(runs)), limits(settings.batch), queue(settings, state_size) {}

  const std::shared_ptr<const Backend> backend;
  const Limits limits;
  BatchQueue queue;
};

// Starts workers that run batches until the queue is closed and empty; they block all signals but those of faults, and
// are named recblr-batch-0 and on. Throws Error(kConfig) where the system gives no more threads; those that were
// started end then.
std::vector<std::thread> start_workers(const std::shared_ptr<SharedWork>& shared, int count);

// While it lives, this thread works for a batcher, too: it runs its own rows in a worker's place.
class AtWork {
 public:
  explicit AtWork(const SharedWork& shared) noexcept;
  ~AtWork();
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

 private:
  const SharedWork* before_;
};

// Whether this thread is one of those workers, or at work for them.
bool works_here(const SharedWork& shared) noexcept;

}  // namespace recblr
