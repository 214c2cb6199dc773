// What was asked of the model by the Open Inference Protocol, in the form of Triton's statistics.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>

#include "server/model/served_model.h"

namespace recblr::server {

// HTTP and gRPC share one; threads may, too.
class OipStatistics {
 public:
  struct Duration {
    int64_t count = 0, nanoseconds = 0;
  };
  struct Snapshot {
    int64_t last_inference = 0;   // milliseconds since 1970; 0: none yet
    int64_t inference_count = 0;  // users answered
    // Runs of the model and how long they took, and how long requests waited for one: of all that the engine is asked.
    int64_t execution_count = 0;
    Duration queue;
    Duration success, fail;  // requests, from their first byte until the answer was made
  };

  // A request of `users` to `model` that began at `began` is answered, or failed.
  void add(const ServedModel& model, bool succeeded, int64_t users, std::chrono::steady_clock::time_point began);
  Snapshot of(const ServedModel& model) const;

 private:
  mutable std::mutex mutex_;
  std::map<int64_t, Snapshot> counts_;  // of the latest versions; the engine's part is empty
};

}  // namespace recblr::server
