// Engines, and backends of the caller's; a part of recblr.hpp.
#ifndef RECBLR_ENGINE_HPP_
#define RECBLR_ENGINE_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "recblr/bundle.hpp"
#include "recblr/expected.hpp"
#include "recblr/recblr.h"
#include "recblr/request.hpp"

namespace recblr {
inline namespace RECBLR_CLIENT {

struct Batching {
  int64_t max_batch_rows = 0, max_batch_tokens = 0, enough_rows = 0, enough_tokens = 0;
  double max_delay = 0;  // seconds
  int64_t max_queued_rows = 0, max_queued_tokens = 0;
  std::optional<double> timeout;  // seconds
  int workers = 0;
};

// Runs a bundle's model in the caller's code; see recblr_backend.
class Backend {
 public:
  virtual ~Backend() = default;
  // Called from any thread, from several at once. Where exceptions are off, or instead of one, it returns a Failure.
  virtual Expected<void> run(const recblr_backend_run& run) = 0;
  virtual std::string description() const = 0;
  virtual int64_t max_k() const { return 0; }
  virtual int64_t max_rows() const { return 0; }
  virtual int64_t max_tokens() const { return 0; }
  virtual int64_t max_exclusions() const { return 0; }
};

struct EngineOptions {
  int threads = 0;
  std::optional<Batching> batching;
  std::shared_ptr<Backend> backend;  // none: the library's own kernels
};

namespace detail {

inline recblr_status run_backend(void* context, const recblr_backend_run* run) noexcept {
  Backend& backend = **static_cast<std::shared_ptr<Backend>*>(context);
  return status_of([&] { return backend.run(*run); }, RECBLR_BACKEND_FAILED,
                   "the backend threw what is no std::exception");
}

inline void release_backend(void* context) noexcept { delete static_cast<std::shared_ptr<Backend>*>(context); }

using Done = std::function<void(Expected<void>)>;

inline void call_done(void* context, recblr_status status) noexcept {
  const std::unique_ptr<Done> done(static_cast<Done*>(context));
  (*done)(expected(status));
}

}  // namespace detail

class Engine {
 public:
  static Expected<Engine> try_create(const Bundle& bundle, const EngineOptions& options = {}) {
    recblr_engine_options given{};
    recblr_batching batching{};
    recblr_backend backend{};
    given.struct_size = sizeof given;
    given.threads = options.threads;
    if (options.batching) {
      const Batching& b = *options.batching;
      batching = {sizeof batching, b.max_batch_rows,  b.max_batch_tokens,  b.enough_rows,         b.enough_tokens,
                  b.max_delay,     b.max_queued_rows, b.max_queued_tokens, b.timeout.value_or(0), b.workers};
      given.batching = &batching;
    }
    std::unique_ptr<std::shared_ptr<Backend>> context;
    std::string description;
    if (options.backend) {
      context = std::make_unique<std::shared_ptr<Backend>>(options.backend);
      description = options.backend->description();
      backend = {sizeof backend,
                 context.get(),
                 detail::run_backend,
                 detail::release_backend,
                 description.c_str(),
                 options.backend->max_k(),
                 options.backend->max_rows(),
                 options.backend->max_tokens(),
                 options.backend->max_exclusions()};
      given.backend = &backend;
    }
    recblr_engine* engine = nullptr;
    const recblr_status status = recblr_engine_create(bundle.handle(), &given, &engine);
    if (status != RECBLR_OK) return detail::last_failure(status);
    static_cast<void>(context.release());  // the engine releases it
    return Engine(engine, bundle.state_size());
  }

  Expected<void> try_recommend(const Request& request, Result* result) const {
    if (Expected<void> checked = check_states(request); !checked) return checked;
    const detail::CRequest given(request);
    return detail::expected(recblr_recommend(handle(), given.get(), result->handle()));
  }
  // Calls `done` once when `result` is there, in any thread, perhaps before this returns, or with what is wrong;
  // `result` and the states of `request` must stay until then. Returns a ticket for `cancel`; where it fails, `done` is
  // not called. `done` must not throw, nor wait for another request.
  Expected<uint64_t> try_submit(const Request& request, Result* result,
                                std::function<void(Expected<void>)> done) const {
    if (Expected<void> checked = check_states(request); !checked) return checked.error();
    const detail::CRequest given(request);
    auto context = std::make_unique<detail::Done>(std::move(done));
    uint64_t ticket = 0;
    const recblr_status status =
        recblr_submit(handle(), given.get(), result->handle(), detail::call_done, context.get(), &ticket);
    if (status != RECBLR_OK) return detail::last_failure(status);
    static_cast<void>(context.release());  // call_done deletes it
    return ticket;
  }
  bool cancel(uint64_t ticket) const { return recblr_cancel(handle(), ticket) != 0; }
  Expected<recblr_metrics> try_metrics() const {
    recblr_metrics metrics{};
    metrics.struct_size = sizeof metrics;
    const recblr_status status = recblr_engine_metrics(handle(), &metrics);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return metrics;
  }
  Expected<void> try_close(bool drain = true, std::optional<double> timeout = std::nullopt) const {
    return detail::expected(recblr_engine_close(handle(), drain, timeout.value_or(-1)));
  }
#if defined(__cpp_exceptions)
  explicit Engine(const Bundle& bundle, const EngineOptions& options = {})
      : Engine(detail::value_or_throw(try_create(bundle, options))) {}
  void recommend(const Request& request, Result* result) const {
    detail::value_or_throw(try_recommend(request, result));
  }
  uint64_t submit(const Request& request, Result* result, std::function<void(Expected<void>)> done) const {
    return detail::value_or_throw(try_submit(request, result, std::move(done)));
  }
  recblr_metrics metrics() const { return detail::value_or_throw(try_metrics()); }
  void close(bool drain = true, std::optional<double> timeout = std::nullopt) const {
    detail::value_or_throw(try_close(drain, timeout));
  }
#endif
  std::string_view description() const { return recblr_engine_description(handle()); }
  recblr_engine* handle() const { return handle_.get(); }

 private:
  Engine(recblr_engine* engine, int64_t state_size) : handle_(engine), state_size_(state_size) {}

  // The C API cannot know how much memory is behind a pointer.
  Expected<void> check_states(const Request& request) const {
    const auto needed = static_cast<size_t>(request.items.n_rows * state_size_);
    const auto check = [needed](size_t size, const char* name) {
      if (size == 0 || size == needed) return Expected<void>();
      return Expected<void>(Failure{Status::kInvalidArgument, std::string(name) + " has " + std::to_string(size) +
                                                                  " numbers, this model's states need " +
                                                                  std::to_string(needed)});
    };
    Expected<void> checked = check(request.states.size(), "states");
    return checked ? check(request.new_states.size(), "new_states") : checked;
  }

  std::unique_ptr<recblr_engine, detail::Freeing<recblr_engine_free>> handle_;
  int64_t state_size_;
};

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_ENGINE_HPP_
