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
  using Time = std::chrono::steady_clock::time_point;
  struct Duration {
    int64_t count = 0, nanoseconds = 0;
  };
  struct Snapshot {
    int64_t last_inference = 0;              // milliseconds since 1970; 0: none yet
    int64_t inference_count = 0;             // users answered
    Duration success, fail;                  // requests
    Duration compute_input, compute_output;  // reading requests and writing answers
    // Of all that the engine was asked since it was warmed up, by other protocols, too: its runs, and how long requests
    // waited for one.
    Duration compute_infer, queue;
  };

  // A request for `users` is answered: it began, was read and given to the engine, whose answer came, and now is
  // written.
  void add_success(const ServedModel& model, int64_t users, Time began, Time asked, Time answered);
  void add_failure(const ServedModel& model, Time began);
  Snapshot of(const ServedModel& model) const;

 private:
  mutable std::mutex mutex_;
  Snapshot& counts_of(const ServedModel& model);  // with the mutex
  std::map<int64_t, Snapshot> counts_;            // of the latest versions; the engine's part is empty
};

}  // namespace recblr::server
