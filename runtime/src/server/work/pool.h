// Threads for what waits or takes long: stores, large bodies, loading models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace recblr::server {

class Pool {
 public:
  // At most `max_queued` tasks wait.
  Pool(int threads, int64_t max_queued);
  ~Pool();  // runs what waits, then ends
  // Whether it was taken; false where too many wait. The task must not throw.
  bool post(std::function<void()> task);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
