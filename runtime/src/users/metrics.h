// What a Recommender counts.
#pragma once

#include <atomic>
#include <cstdint>

namespace recblr {

// Of users who were answered, and of those whose states a new model got before it took over; all models' of a
// Recommender.
struct UserCounts {
  std::atomic<int64_t> state_hits{0};      // a cached state was used, and fed what came since
  std::atomic<int64_t> state_rebuilds{0};  // all of the history was fed
};

// At one moment; counts since the Recommender was made.
struct UserMetrics {
  int64_t cached_users = 0, cached_bytes = 0;  // now, of the model that answers
  int64_t state_hits = 0, state_rebuilds = 0;
  int64_t evictions = 0;  // users dropped from the cache for others
};

}  // namespace recblr
