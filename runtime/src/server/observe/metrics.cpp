#include "server/observe/metrics.h"

#include <prometheus/text_serializer.h>

#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "server/observe/engine_totals.h"
#include "server/observe/families.h"
#include "server/observe/process.h"
#include "server/observe/request_counts.h"

namespace recblr::server {

using prometheus::MetricFamily;
using prometheus::MetricType;

namespace {

// As recblr.h says of recblr_metrics.
constexpr std::array<double, RECBLR_ROW_BUCKETS - 1> kRows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
constexpr std::array<double, RECBLR_WAIT_BUCKETS - 1> kSeconds = {.0001, .00025, .0005, .001, .0025, .005, .01,
                                                                  .025,  .05,    .1,    .25,  .5,    1,    2.5};

template <size_t n_bounds, size_t n_counts>
void append_histogram(Families* families, std::string name, std::string help,
                      const std::array<double, n_bounds>& bounds, const int64_t (&counts)[n_counts], double total) {
  static_assert(n_counts == n_bounds + 1, "and one for what is above");
  MetricFamily& family = append_family(families, MetricType::Histogram, std::move(name), std::move(help));
  append_buckets(&family, bounds.data(), n_bounds, counts, total);
}

Labels labels_of(const RouteName& route) {
  return {{"protocol", route.protocol}, {"method", route.method}, {"route", route.route}};
}

void add_requests(Families* families, const std::map<RouteName, RouteCounts>& routes) {
  const auto count_all = [&](std::string name, std::string help, int64_t RouteCounts::* count) {
    MetricFamily& family = append_family(families, MetricType::Counter, std::move(name), std::move(help));
    for (const auto& [route, counts] : routes) {
      append_value(&family, static_cast<double>(counts.*count), labels_of(route));
    }
  };
  MetricFamily& ended =
      append_family(families, MetricType::Counter, "recblr_requests_total", "Requests that were answered.");
  for (const auto& [route, counts] : routes) {
    for (const auto& [how, count] : counts.ended) {
      Labels labels = labels_of(route);
      labels.push_back({"status", std::to_string(how.first)});
      labels.push_back({"reason", how.second});
      append_value(&ended, static_cast<double>(count), std::move(labels));
    }
  }
  MetricFamily& seconds = append_family(families, MetricType::Histogram, "recblr_request_seconds",
                                        "Time from a request's first byte to its reply.");
  for (const auto& [route, counts] : routes) {
    append_buckets(&seconds, kRequestSeconds.data(), kRequestSeconds.size(), counts.seconds.data(),
                   counts.seconds_total, labels_of(route));
  }
  count_all("recblr_request_rows_total", "Users that were asked for.", &RouteCounts::rows);
  count_all("recblr_request_items_total", "Item ids that were asked with.", &RouteCounts::items);
  count_all("recblr_request_bytes_total", "Bytes of requests' bodies.", &RouteCounts::request_bytes);
  count_all("recblr_response_bytes_total", "Bytes of replies' bodies.", &RouteCounts::response_bytes);
}

void add_engine(Families* families, const recblr_metrics& engine) {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  append_gauge(families, "recblr_queue_rows", "Users that wait for a run.", number(engine.queued_rows));
  append_gauge(families, "recblr_queue_items", "Items that wait for a run.", number(engine.queued_tokens));
  append_gauge(families, "recblr_engine_open_requests", "Requests that wait or run.", number(engine.open_requests));
  append_gauge(families, "recblr_engine_running_batches", "Batches that run.", number(engine.running_batches));
  MetricFamily& requests = append_family(families, MetricType::Counter, "recblr_engine_requests_total",
                                         "Requests to the engine by how they ended.");
  append_value(&requests, number(engine.answered), {{"outcome", "answered"}});
  append_value(&requests, number(engine.refused), {{"outcome", "refused"}});
  append_value(&requests, number(engine.failed), {{"outcome", "failed"}});
  append_value(&requests, number(engine.expired), {{"outcome", "expired"}});
  append_value(&requests, number(engine.cancelled), {{"outcome", "cancelled"}});
  append_counter(families, "recblr_engine_backend_errors_total", "Runs that failed.", number(engine.backend_errors));
  append_counter(families, "recblr_batch_items_total", "Items that were run.", number(engine.batch_tokens));
  append_histogram(families, "recblr_batch_rows", "Users of a run.", kRows, engine.batch_rows, engine.batch_rows_total);
  append_histogram(families, "recblr_queue_seconds", "Time that requests waited for their run.", kSeconds,
                   engine.wait_seconds, engine.wait_seconds_total);
  append_histogram(families, "recblr_run_seconds", "Time that runs took.", kSeconds, engine.run_seconds,
                   engine.run_seconds_total);
}

void add_users(Families* families, const recblr_user_metrics& users) {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  append_gauge(families, "recblr_cached_users", "Users whose states are cached.", number(users.cached_users));
  append_gauge(families, "recblr_cached_bytes", "Memory of users' states and seen items.", number(users.cached_bytes));
  append_counter(families, "recblr_state_hits_total", "Users asked for whose cached state was used.",
                 number(users.state_hits));
  append_counter(families, "recblr_state_rebuilds_total", "Users asked for whose whole history was fed to the model.",
                 number(users.state_rebuilds));
  append_counter(families, "recblr_state_evictions_total", "Users dropped from the cache for others.",
                 number(users.evictions));
}

void add_model(Families* families, const ServedModel& model) {
  using Seconds = std::chrono::duration<double>;
  MetricFamily& info =
      append_family(families, MetricType::Gauge, "recblr_model_info", "The model that is served; its value is 1.");
  append_value(&info, 1,
               {{"fingerprint", std::string(model.bundle.fingerprint())},
                {"name", model.name},
                {"version", std::to_string(model.version)}});
  append_gauge(families, "recblr_model_items", "Items of its catalogue.", static_cast<double>(model.bundle.n_items()));
  append_gauge(families, "recblr_model_loaded_timestamp_seconds", "When it was loaded, in seconds since 1970.",
               Seconds(model.loaded.time_since_epoch()).count());
}

}  // namespace

class Metrics::Impl {
 public:
  explicit Impl(const Models& models) : models_(models) {}

  void add(const ModelEvent& event) {
    if (event.model != nullptr) engines_.add(event.model);
    const std::lock_guard<std::mutex> lock(mutex_);
    ++changes_[event.kind];
  }

  void freed(const ServedModel& model) { engines_.count_last(model); }

  std::string text() {
    Families families;
    add_requests(&families, requests.all());
    const ServedModelPtr model = models_.current();
    append_gauge(&families, "recblr_ready", "1 while the server is ready.", models_.ready() ? 1 : 0);
    if (model != nullptr) {
      add_model(&families, *model);
      add_engine(&families, engines_.now());
    }
    if (const auto users = models_.users()) {
      if (const Expected<recblr_user_metrics> now = users->try_metrics()) add_users(&families, *now);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      MetricFamily& changes = append_family(&families, MetricType::Counter, "recblr_reloads_total",
                                            "Changes of the model by how they ended.");
      const auto add = [&](const char* kind, const char* outcome, ModelEvent::Kind event) {
        append_value(&changes, static_cast<double>(changes_[event]), {{"kind", kind}, {"outcome", outcome}});
      };
      add("reload", "done", ModelEvent::Kind::kReloaded);
      add("reload", "failed", ModelEvent::Kind::kReloadFailed);
      add("rollback", "done", ModelEvent::Kind::kRolledBack);
      add("rollback", "failed", ModelEvent::Kind::kRollbackFailed);
    }
    for (const Other& other : others) {
      MetricFamily& family = append_family(&families, other.type, other.name, other.help);
      append_value(&family, other.value());
    }
    add_process(&families);
    return prometheus::TextSerializer().Serialize(families);
  }

  struct Other {
    MetricType type;
    std::string name, help;
    std::function<double()> value;
  };

  RequestCounts requests;
  std::vector<Other> others;

 private:
  const Models& models_;
  EngineTotals engines_;
  std::mutex mutex_;
  std::map<ModelEvent::Kind, int64_t> changes_;
};

Metrics::Metrics(const Models& models) : impl_(std::make_unique<Impl>(models)) {}
Metrics::~Metrics() = default;

void Metrics::add(const RequestRecord& record) { impl_->requests.add(record); }
void Metrics::add(const ModelEvent& event) { impl_->add(event); }
void Metrics::freed(const ServedModel& model) { impl_->freed(model); }
void Metrics::add_gauge(std::string name, std::string help, std::function<double()> value) {
  impl_->others.push_back({MetricType::Gauge, std::move(name), std::move(help), std::move(value)});
}
void Metrics::add_counter(std::string name, std::string help, std::function<double()> value) {
  impl_->others.push_back({MetricType::Counter, std::move(name), std::move(help), std::move(value)});
}
std::string Metrics::text() const { return impl_->text(); }

}  // namespace recblr::server
