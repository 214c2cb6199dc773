#include "batching/settings.h"

#include <algorithm>
#include <string>

#include "base/cpus.h"
#include "base/error.h"
#include "base/text.h"
#include "batching/failure.h"
#include "batching/splitter.h"

namespace recblr {

BatchingSettings checked(const BatchingSettings& settings, const Limits& backend) {
  struct {
    const char* name;
    int64_t value, least;
  } const numbers[] = {
      {"max_batch_rows", settings.batch.rows, 1},
      {"max_batch_tokens", settings.batch.tokens, 1},
      {"max_exclusions", settings.batch.exclusions, 1},
      {"enough_rows", settings.enough_rows, 1},
      {"enough_tokens", settings.enough_tokens, 1},
      {"max_queued_rows", settings.max_queued_rows, 1},
      {"max_queued_tokens", settings.max_queued_tokens, 1},
      {"short_tokens", settings.short_tokens, 0},
      {"workers", settings.workers, 0},
  };
  for (const auto& number : numbers) {
    if (number.value < number.least) {
      refuse(Code::kConfig, std::string(number.name) + " is " + std::to_string(number.value) +
                                ": give a whole number of at least " + std::to_string(number.least));
    }
  }
  if (settings.workers > kMostWorkers) {
    refuse(Code::kConfig, "workers is " + std::to_string(settings.workers) + ": give at most " + grouped(kMostWorkers));
  }
  if (!(settings.max_delay >= 0 && settings.max_delay <= 1e300)) {
    refuse(Code::kConfig, "max_delay is " + written(settings.max_delay) + ": give seconds, 0 for none");
  }
  if (settings.timeout) check_timeout(*settings.timeout, Code::kConfig);
  BatchingSettings result = settings;
  result.batch = clamped(settings.batch, backend);
  result.enough_rows = std::min(settings.enough_rows, result.batch.rows);
  result.enough_tokens = std::min(settings.enough_tokens, result.batch.tokens);
  if (result.workers == 0) result.workers = std::min(usable_cpus(), kMostWorkers);
  result.short_places = std::max(result.short_places, result.workers);
  return result;
}

}  // namespace recblr
