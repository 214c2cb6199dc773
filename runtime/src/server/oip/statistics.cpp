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
  const recblr_metrics& before = model.warm_up;
  const auto since = [](const auto& buckets, const auto& buckets_before, double seconds) {
    const auto sum = [](const auto& all) { return std::accumulate(std::begin(all), std::end(all), int64_t{0}); };
    return Duration{sum(buckets) - sum(buckets_before), static_cast<int64_t>(seconds * 1e9)};
  };
  snapshot.compute_infer =
      since(metrics->run_seconds, before.run_seconds, metrics->run_seconds_total - before.run_seconds_total);
  snapshot.queue =
      since(metrics->wait_seconds, before.wait_seconds, metrics->wait_seconds_total - before.wait_seconds_total);
  return snapshot;
}

OipStatistics::Snapshot& OipStatistics::counts_of(const ServedModel& model) {
  if (counts_.count(model.version) == 0 && counts_.size() == kMostVersions) counts_.erase(counts_.begin());
  return counts_[model.version];
}

}  // namespace recblr::server
