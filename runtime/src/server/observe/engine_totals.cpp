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

void EngineTotals::count_last(const ServedModel& model) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = counted_.find(&model);
  if (found == counted_.end()) return;
  count(model, &found->second);
  counted_.erase(found);
}

void EngineTotals::count(const ServedModel& model, Counted* counted) {
  const Expected<recblr_metrics> counts = model.engine.try_metrics();
  if (!counts) return;  // where nothing is batched
  const recblr_metrics &now = *counts, &last = counted->last;
  for (const auto count : kCounts) totals_.*count += now.*count - last.*count;
  for (const auto value : kNow) totals_.*value += now.*value;
  add_difference(totals_.batch_rows, now.batch_rows, last.batch_rows);
  add_difference(totals_.wait_seconds, now.wait_seconds, last.wait_seconds);
  add_difference(totals_.run_seconds, now.run_seconds, last.run_seconds);
  totals_.run_seconds_total += now.run_seconds_total - last.run_seconds_total;
  totals_.batch_rows_total += now.batch_rows_total - last.batch_rows_total;
  totals_.wait_seconds_total += now.wait_seconds_total - last.wait_seconds_total;
  counted->last = now;
}

recblr_metrics EngineTotals::now() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto value : kNow) totals_.*value = 0;
  for (auto& [_, counted] : counted_) {
    // Where it is let go already, it is counted last in a moment.
    if (const ServedModelPtr model = counted.model.lock()) count(*model, &counted);
  }
  return totals_;
}

}  // namespace recblr::server
