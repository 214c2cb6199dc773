#include "engine/threads.h"

#include <algorithm>
#include <string>

#include "backends/thread_team.h"

namespace recblr {

int run_threads(int asked, bool batching, int64_t n_items, int cpus) {
  if (asked != 0) return checked_threads(asked);
  return batching && n_items < kLargeCatalogue ? 1 : std::min(cpus, kMostThreads);
}

BatchingSettings filled_in(BatchingSettings settings, bool native, int run_threads, int64_t n_items, int cpus) {
  constexpr int kShortPlacesPerWorker = 4;  // threads of Python are no slower than without a batcher from 4 on
  const bool is_large = n_items >= kLargeCatalogue;
  if (settings.workers == 0) {
    settings.workers = std::clamp(cpus / run_threads, 1, kMostWorkers);
    if (native && run_threads == 1 && !is_large) settings.short_places = kShortPlacesPerWorker * settings.workers;
  }
  const BatchingSettings defaults;
  if (settings.enough_rows == 0) settings.enough_rows = is_large ? settings.batch.rows : defaults.enough_rows;
  if (settings.enough_tokens == 0) settings.enough_tokens = is_large ? settings.batch.tokens : defaults.enough_tokens;
  return settings;
}

}  // namespace recblr
