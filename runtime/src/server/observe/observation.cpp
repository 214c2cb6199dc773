#include "server/observe/observation.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "server/observe/metrics_page.h"
#include "server/observe/trace_target.h"

namespace recblr::server {

namespace {

constexpr double kLeast = 0.1;  // seconds for the log, whatever traces took

void log_of_library(void* context, int32_t level, const char* message) {
  static_cast<Log*>(context)->write(level >= RECBLR_LOG_WARNING ? LogLevel::kWarning : LogLevel::kInfo, "engine",
                                    message);
}

}  // namespace

Observation::Observation(const LogOptions& log, const TraceOptions& trace, Models* models)
    : models_(models),
      logs_requests_(log.requests),
      log_(log.format == "text" ? LogFormat::kText : LogFormat::kJson, log_level(log.level).value_or(LogLevel::kInfo),
           STDERR_FILENO),
      metrics_(*models) {
  metrics_.add_counter("recblr_log_lines_dropped_total", "Lines of the log that were left out.",
                       [this] { return static_cast<double>(log_.dropped()); });
  if (auto target = trace_target(trace)) {
    traces_.emplace(*std::move(target), &log_);
    metrics_.add_counter("recblr_spans_sent_total", "Requests whose spans the collector of traces took.",
                         [this] { return static_cast<double>(traces_->sent()); });
    metrics_.add_counter("recblr_spans_dropped_total", "Requests whose spans were left out.",
                         [this] { return static_cast<double>(traces_->dropped()); });
  }
  recblr_set_logger(log_of_library, &log_);
  models_->on_event([this](const ModelEvent& event) { tell(event); });
  models_->on_free([this](const ServedModel& model) { metrics_.freed(model); });
}

Observation::~Observation() {
  models_->on_event(nullptr);
  models_->on_free(nullptr);
  recblr_set_logger(nullptr, nullptr);
}

void Observation::finished(const RequestRecord& record) {
  metrics_.add(record);
  if (traces_) {
    const ServedModelPtr model = models_->current();
    traces_->add(record, model == nullptr ? "" : model->bundle.fingerprint());
  }
  if (record.status == 500) {
    write(LogLevel::kError, record);
  } else if (record.reason == "store" && may_warn()) {
    write(LogLevel::kWarning, record);
  } else if (logs_requests_ && log_.writes(LogLevel::kInfo)) {
    write(LogLevel::kInfo, record);
  }
}

bool Observation::may_warn() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const int64_t second = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  return last_warning_.exchange(second) != second;
}

void Observation::write(LogLevel level, const RequestRecord& record) {
  log_.write(level, "request", record.detail,
             {{"request_id", record.request_id},
              {"protocol", record.protocol},
              {"method", record.method},
              {"route", record.route},
              {"status", int64_t{record.status}},
              {"reason", record.reason},
              {"rows", record.rows},
              {"items", record.items},
              {"request_bytes", record.request_bytes},
              {"response_bytes", record.response_bytes},
              {"seconds", record.seconds}});
}

void Observation::tell(const ModelEvent& event) {
  metrics_.add(event);
  using Kind = ModelEvent::Kind;
  if (event.kind == Kind::kLoaded) return;  // whoever loads tells
  const bool is_failure = event.kind == Kind::kReloadFailed || event.kind == Kind::kRollbackFailed;
  const bool is_rollback = event.kind == Kind::kRolledBack || event.kind == Kind::kRollbackFailed;
  const char* name = is_rollback ? "rollback" : "reload";
  LogFields fields{{"model", event.model->name},
                   {"version", event.model->version},
                   {"fingerprint", event.model->bundle.fingerprint()},
                   {"path", event.model->resolved_path},
                   {"seconds", event.seconds}};
  if (is_failure) {
    log_.write(LogLevel::kError, name, event.failure.message + "; the model before stays", fields);
  } else {
    log_.write(LogLevel::kInfo, name, "", fields);
  }
}

bool Observation::flush(double timeout) {
  const auto began = std::chrono::steady_clock::now();
  const bool is_sent = !traces_ || traces_->stop(timeout);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
  log_.flush(std::max(kLeast, timeout - passed.count()));
  return is_sent;
}

void add_metrics_route(Router* router, const Metrics* metrics, Pool* pool) {
  const auto page = std::make_shared<MetricsPage>(metrics, pool);
  router->add(Method::kGet, "/metrics", Access::kPublic,
              [page](const ExchangePtr& exchange) { page->answer(exchange); });
}

}  // namespace recblr::server
