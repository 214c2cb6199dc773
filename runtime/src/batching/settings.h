// How requests are merged, and how many may wait.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "backends/backend.h"

namespace recblr {

// Each worker is a thread; more of them could only wait for CPUs.
constexpr int kMostWorkers = 1024;

struct BatchingSettings {
  Limits batch{64, 2560, 65536};  // of one run; clamped to the backend's own
  int64_t enough_rows = 32;       // so many rows, or tokens, are a batch that waits for no more
  int64_t enough_tokens = 96;
  double max_delay = 0.0;          // seconds that a free worker waits for more before it starts a smaller batch
  int64_t max_queued_rows = 4096;  // a request beyond is refused, unless nothing waits
  int64_t max_queued_tokens = 1048576;
  std::optional<double> timeout;  // seconds that a request may wait where it does not say
  int64_t short_tokens = 16;      // the longest row that counts as short
  int workers = 0;                // threads, and how many batches run at once; 0 for one per usable CPU
  int short_places = 0;           // runs of short rows at once in their callers' threads; as `workers` where fewer
  std::function<double()> clock;  // seconds, never going back; empty for the system's monotonic clock
};

// The settings as a queue needs them: in range, limits clamped to the backend's, workers counted. Throws Error(kConfig)
// for a setting out of its range.
BatchingSettings checked(const BatchingSettings& settings, const Limits& backend);

}  // namespace recblr
