#include "batching/metrics.h"

#include <algorithm>
#include <optional>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/handles.h"
#include "api/users_handles.h"

namespace {

template <size_t n_buckets>
void copy_histogram(const recblr::Histogram& histogram, int64_t (&counts)[n_buckets], double* total) {
  if (histogram.counts.size() != n_buckets) {
    refuse(recblr::Code::kInternal, "a histogram of " + std::to_string(histogram.counts.size()) + " buckets");
  }
  std::copy(histogram.counts.begin(), histogram.counts.end(), counts);
  *total = histogram.total;
}

}  // namespace

extern "C" recblr_status recblr_engine_metrics(const recblr_engine* engine, recblr_metrics* metrics) {
  return recblr::api::guarded([=] {
    recblr::api::not_null(metrics, "metrics");
    const std::optional<recblr::BatcherMetrics> now = recblr::api::not_null(engine, "engine")->engine->metrics();
    if (!now.has_value()) {
      refuse(recblr::Code::kUnsupported, "the engine does not batch, and counts nothing: make it with batching");
    }
    recblr_metrics written{};
    written.queued_rows = now->queued_rows;
    written.queued_tokens = now->queued_tokens;
    written.open_requests = now->open_requests;
    written.running_batches = now->running_batches;
    written.accepted = now->accepted;
    written.refused = now->refused;
    written.answered = now->answered;
    written.failed = now->failed;
    written.expired = now->expired;
    written.cancelled = now->cancelled;
    written.backend_errors = now->backend_errors;
    written.batch_tokens = now->batch_tokens;
    copy_histogram(now->batch_rows, written.batch_rows, &written.batch_rows_total);
    copy_histogram(now->wait_seconds, written.wait_seconds, &written.wait_seconds_total);
    copy_histogram(now->run_seconds, written.run_seconds, &written.run_seconds_total);
    recblr::api::write_struct(metrics, "metrics", &written, sizeof written);
  });
}

extern "C" recblr_status recblr_recommender_metrics(const recblr_recommender* recommender,
                                                    recblr_user_metrics* metrics) {
  return recblr::api::guarded([=] {
    recblr::api::not_null(metrics, "metrics");
    const recblr::UserMetrics now = recblr::api::not_null(recommender, "recommender")->recommender.metrics();
    const recblr_user_metrics written{sizeof written, now.cached_users,   now.cached_bytes,
                                      now.state_hits, now.state_rebuilds, now.evictions};
    recblr::api::write_struct(metrics, "metrics", &written, sizeof written);
  });
}
