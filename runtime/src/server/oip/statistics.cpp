#include "server/oip/statistics.h"

#include <numeric>

namespace recblr::server {
namespace {

constexpr size_t kMostVersions = 8;  // a server that has loaded a thousand models forgets the first

using std::chrono::duration_cast;

void add(std::chrono::steady_clock::duration took, OipStatistics::Duration* duration) {
  ++duration->count;
  duration->nanoseconds += duration_cast<std::chrono::nanoseconds>(took).count();
}

}  // namespace

void OipStatistics::add_success(const ServedModel& model, int64_t users, Time began, Time asked, Time answered) {
  const Time now = std::chrono::steady_clock::now();
  const auto date = std::chrono::system_clock::now().time_since_epoch();
  const std::lock_guard<std::mutex> lock(mutex_);
  Snapshot& counts = counts_of(model);
  add(now - began, &counts.success);
  add(asked - began, &counts.compute_input);
  add(now - answered, &counts.compute_output);
  counts.last_inference = duration_cast<std::chrono::milliseconds>(date).count();
  counts.inference_count += users;
}

void OipStatistics::add_failure(const ServedModel& model, Time began) {
  const Time now = std::chrono::steady_clock::now();
  const std::lock_guard<std::mutex> lock(mutex_);
  add(now - began, &counts_of(model).fail);
}

OipStatistics::Snapshot OipStatistics::of(const ServedModel& model) const {
  Snapshot snapshot;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = counts_.find(model.version);
    if (found != counts_.end()) snapshot = found->second;
  }
  const Expected<recblr_metrics> metrics = model.engine.try_metrics();
  if (!metrics) return snapshot;  // an engine that does not batch counts nothing
  const auto count = [](const auto& buckets) {
    return std::accumulate(std::begin(buckets), std::end(buckets), int64_t{0});
  };
  snapshot.compute_infer = {count(metrics->run_seconds), static_cast<int64_t>(metrics->run_seconds_total * 1e9)};
  snapshot.queue = {count(metrics->wait_seconds), static_cast<int64_t>(metrics->wait_seconds_total * 1e9)};
  return snapshot;
}

OipStatistics::Snapshot& OipStatistics::counts_of(const ServedModel& model) {
  if (counts_.count(model.version) == 0 && counts_.size() == kMostVersions) counts_.erase(counts_.begin());
  return counts_[model.version];
}

}  // namespace recblr::server
