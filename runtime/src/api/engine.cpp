#include "engine/engine.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/handles.h"
#include "backends/callback.h"
#include "backends/native.h"
#include "backends/thread_team.h"
#include "base/cpus.h"
#include "engine/threads.h"

using recblr::api::guarded;
using recblr::api::guarded_or;
using recblr::api::not_null;
using recblr::api::read_struct;

namespace {

static_assert(recblr::kMostThreads == RECBLR_MAX_THREADS);
static_assert(recblr::kMostWorkers == RECBLR_MAX_THREADS);
static_assert(recblr::kLargeCatalogue == RECBLR_LARGE_CATALOGUE);

// The caller's backend, which is released with the last engine of it.
class CallerBackend {
 public:
  explicit CallerBackend(const recblr_backend& backend) : backend_(backend) {}
  CallerBackend(const CallerBackend&) = delete;
  CallerBackend& operator=(const CallerBackend&) = delete;
  ~CallerBackend() {
    if (is_owned_ && backend_.release != nullptr) backend_.release(backend_.context);
  }

  // From now on it is released in the end.
  void own() { is_owned_ = true; }

  void run(const recblr::ArrayRun& run) const {
    const recblr_backend_run given{sizeof(recblr_backend_run),
                                   run.n_rows,
                                   run.n_items,
                                   run.n_exclude,
                                   run.k,
                                   run.items,
                                   run.offsets,
                                   run.state_in,
                                   run.exclude,
                                   run.state_out,
                                   run.top_items,
                                   run.top_scores};
    recblr::api::clear_last_error();
    const recblr_status status = backend_.run(backend_.context, &given);
    if (status == RECBLR_OK) return;
    const std::string message = recblr::api::last_error();
    const bool is_known = status > RECBLR_OK && status <= RECBLR_INTERNAL;
    refuse(is_known ? static_cast<recblr::Code>(status) : recblr::Code::kBackend,
           message.empty() ? "what runs the model gave status " + std::to_string(status) + " and no message" : message);
  }

 private:
  recblr_backend backend_;
  bool is_owned_ = false;
};

int64_t value_or(int64_t value, int64_t otherwise) { return value == 0 ? otherwise : value; }

int64_t checked_limit(int64_t value, int64_t otherwise, const char* name) {
  if (value < 0) {
    refuse(recblr::Code::kConfig, std::string(name) + " is " + std::to_string(value) + ": give at least 1, or 0");
  }
  return value_or(value, otherwise);
}

std::shared_ptr<const recblr::Backend> backend_of_caller(const std::shared_ptr<const recblr::Bundle>& bundle,
                                                         const recblr_backend& given, int threads,
                                                         std::shared_ptr<CallerBackend>* caller) {
  if (given.run == nullptr) refuse(recblr::Code::kInvalidArgument, "backend.run is NULL");
  recblr::Callback callback;
  callback.limits = {checked_limit(given.max_rows, 256, "max_rows"),
                     checked_limit(given.max_tokens, 65536, "max_tokens"),
                     checked_limit(given.max_exclusions, 65536, "max_exclusions")};
  callback.max_k = checked_limit(given.max_k, 0, "max_k");
  callback.description = given.description == nullptr ? "a backend of the caller's" : given.description;
  *caller = std::make_shared<CallerBackend>(given);
  callback.run = [backend = *caller](const recblr::ArrayRun& run) { backend->run(run); };
  return std::make_shared<recblr::CallbackBackend>(bundle, std::move(callback), threads);
}

recblr::BatchingSettings settings_of(const recblr_batching& given) {
  recblr::BatchingSettings settings;
  settings.batch.rows = value_or(given.max_batch_rows, settings.batch.rows);
  settings.batch.tokens = value_or(given.max_batch_tokens, settings.batch.tokens);
  settings.enough_rows = given.enough_rows;
  settings.enough_tokens = given.enough_tokens;
  settings.max_delay = given.max_delay;
  settings.max_queued_rows = value_or(given.max_queued_rows, settings.max_queued_rows);
  settings.max_queued_tokens = value_or(given.max_queued_tokens, settings.max_queued_tokens);
  if (given.timeout != 0) settings.timeout = given.timeout;
  settings.workers = given.workers;
  return settings;
}

recblr::Engine& made(const recblr_engine* engine) { return *not_null(engine, "engine")->engine; }

}  // namespace

extern "C" {

recblr_status recblr_engine_create(recblr_bundle* bundle, const recblr_engine_options* options,
                                   recblr_engine** engine) {
  return guarded([=] {
    *not_null(engine, "engine") = nullptr;
    const std::shared_ptr<const recblr::Bundle>& opened = not_null(bundle, "bundle")->bundle;
    recblr_engine_options given{};
    if (options != nullptr) given = read_struct(options, "options");
    const int cpus = recblr::usable_cpus();
    const int threads = recblr::run_threads(given.threads, given.batching != nullptr, opened->n_items(), cpus);
    std::optional<recblr::BatchingSettings> batching;
    if (given.batching != nullptr) {
      batching = recblr::filled_in(settings_of(read_struct(given.batching, "batching")), given.backend == nullptr,
                                   threads, opened->n_items(), cpus);
    }
    std::shared_ptr<const recblr::Backend> backend;
    std::shared_ptr<CallerBackend> caller;
    if (given.backend != nullptr) {
      backend = backend_of_caller(opened, read_struct(given.backend, "backend"), threads, &caller);
    } else {
      backend = std::make_shared<recblr::NativeBackend>(opened, threads);
    }
    auto created = std::make_unique<recblr_engine>();
    created->engine = std::make_shared<recblr::Engine>(opened, std::move(backend), batching);
    created->description = created->engine->description();
    if (caller != nullptr) caller->own();
    *engine = created.release();
  });
}

void recblr_engine_free(recblr_engine* engine) { delete engine; }

recblr_status recblr_engine_close(recblr_engine* engine, int32_t drain, double timeout) {
  return guarded([=] { made(engine).close(drain != 0, timeout >= 0 ? std::optional<double>(timeout) : std::nullopt); });
}

const char* recblr_engine_description(const recblr_engine* engine) {
  return guarded_or("", [=] { return not_null(engine, "engine")->description.c_str(); });
}

int32_t recblr_cancel(recblr_engine* engine, uint64_t ticket) {
  return guarded_or<int32_t>(0, [=] { return static_cast<int32_t>(made(engine).cancel(ticket)); });
}
}
