// What a batcher counts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace recblr {

// How many values fell into each bucket; the bounds are inclusive upper ones, and one more bucket holds what is above.
struct Histogram {
  std::vector<double> bounds;
  std::vector<int64_t> counts;
  double total = 0;

  void add(double value) {
    const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin();
    ++counts[static_cast<size_t>(bucket)];
    total += value;
  }
};

// At one moment. Every request taken is in exactly one of answered, failed, expired, cancelled, or still open. One that
// was withdrawn, or whose time ran out, while a part of it runs is no longer open, though its caller is told after.
struct BatcherMetrics {
  int64_t queued_rows = 0, queued_tokens = 0, open_requests = 0, running_batches = 0;
  int64_t accepted = 0, refused = 0, answered = 0, failed = 0, expired = 0, cancelled = 0, backend_errors = 0;
  int64_t done_errors = 0;  // callbacks of `submit` that threw, which they must not
  int64_t batch_tokens = 0;
  Histogram batch_rows{{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}, std::vector<int64_t>(12), 0};
  Histogram wait_seconds = of_seconds();  // of requests
  Histogram run_seconds = of_seconds();   // of the backend's runs that succeeded, as batch_rows

  static Histogram of_seconds() {
    return {{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5},
            std::vector<int64_t>(15),
            0};
  }
};

}  // namespace recblr
