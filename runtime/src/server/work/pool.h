// Threads for what waits or takes long: stores, large bodies, loading models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace recblr::server {

class Pool {
 public:
  // At most `max_queued` tasks wait. Throws std::system_error where the system gives no threads.
  Pool(int threads, int64_t max_queued);
  ~Pool();  // stops
  // Whether it was taken; false where too many wait, or it has stopped. The task must not throw.
  bool post(std::function<void()> task);
  // Takes no more, runs what waits, then ends. For owners of what tasks use that goes before the pool; not from a task.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
