#include "server/observe/engine_totals.h"

#include <cstdint>

namespace recblr::server {

namespace {

constexpr int64_t recblr_metrics::* kNow[] = {&recblr_metrics::queued_rows, &recblr_metrics::queued_tokens,
                                              &recblr_metrics::open_requests, &recblr_metrics::running_batches};
constexpr int64_t recblr_metrics::* kCounts[] = {&recblr_metrics::accepted,       &recblr_metrics::refused,
                                                 &recblr_metrics::answered,       &recblr_metrics::failed,
                                                 &recblr_metrics::expired,        &recblr_metrics::cancelled,
                                                 &recblr_metrics::backend_errors, &recblr_metrics::batch_tokens};

template <size_t n>
void add_difference(int64_t (&to)[n], const int64_t (&now)[n], const int64_t (&last)[n]) {
  for (size_t j = 0; j < n; ++j) to[j] += now[j] - last[j];
}

}  // namespace

void EngineTotals::add(const ServedModelPtr& model) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Counted& counted = counted_[model.get()];
  if (counted.model.lock() != model) counted = {model, model->warm_up};  // another was at this address
}

void EngineTotals::count(const Counted& counted, const recblr_metrics& now) {
  for (const auto count : kCounts) totals_.*count += now.*count - counted.last.*count;
  for (const auto value : kNow) totals_.*value += now.*value;
  add_difference(totals_.batch_rows, now.batch_rows, counted.last.batch_rows);
  add_difference(totals_.wait_seconds, now.wait_seconds, counted.last.wait_seconds);
  add_difference(totals_.run_seconds, now.run_seconds, counted.last.run_seconds);
  totals_.run_seconds_total += now.run_seconds_total - counted.last.run_seconds_total;
  totals_.batch_rows_total += now.batch_rows_total - counted.last.batch_rows_total;
  totals_.wait_seconds_total += now.wait_seconds_total - counted.last.wait_seconds_total;
}

recblr_metrics EngineTotals::now() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto value : kNow) totals_.*value = 0;
  for (auto at = counted_.begin(); at != counted_.end();) {
    const ServedModelPtr model = at->second.model.lock();
    if (model == nullptr) {
      at = counted_.erase(at);
      continue;
    }
    if (const Expected<recblr_metrics> now = model->engine.try_metrics()) {  // it fails where nothing is batched
      count(at->second, *now);
      at->second.last = *now;
    }
    ++at;
  }
  return totals_;
}

}  // namespace recblr::server
