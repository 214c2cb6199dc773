#include "server/oip/statistics.h"

#include <numeric>

namespace recblr::server {
namespace {

constexpr size_t kMostVersions = 8;  // a server that has loaded a thousand models forgets the first

}  // namespace

void OipStatistics::add(const ServedModel& model, bool succeeded, int64_t users,
                        std::chrono::steady_clock::time_point began) {
  using std::chrono::duration_cast;
  const auto took = duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - began);
  const auto now = duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  const std::lock_guard<std::mutex> lock(mutex_);
  Snapshot& counts = counts_[model.version];
  Duration& duration = succeeded ? counts.success : counts.fail;
  ++duration.count;
  duration.nanoseconds += took.count();
  if (succeeded) {
    counts.last_inference = now.count();
    counts.inference_count += users;
  }
  if (counts_.size() > kMostVersions) counts_.erase(counts_.begin());
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
  snapshot.execution_count =
      std::accumulate(metrics->batch_rows, metrics->batch_rows + RECBLR_ROW_BUCKETS, int64_t{0});
  snapshot.queue.count =
      std::accumulate(metrics->wait_seconds, metrics->wait_seconds + RECBLR_WAIT_BUCKETS, int64_t{0});
  snapshot.queue.nanoseconds = static_cast<int64_t>(metrics->wait_seconds_total * 1e9);
  return snapshot;
}

}  // namespace recblr::server
