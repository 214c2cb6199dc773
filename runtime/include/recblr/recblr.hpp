// C++17 over the C API of librecblr: handles that free themselves, views, and errors as exceptions or as values.
//
//   recblr::Bundle bundle("bundle/");
//   recblr::Engine engine(bundle);
//   recblr::Result result;
//   recblr::IntegerIds histories;
//   histories.add_row({318, 527, 2858});
//   engine.recommend(recblr::Request(histories), &result);
//   for (size_t j = 0; j < result.row(0).size(); ++j) use(result.row(0).integer(j), result.row(0).score(j));
//
// Errors: constructors and functions throw recblr::Error. Each has a counterpart `try_...` that throws nothing but
// std::bad_alloc and returns an Expected; with -fno-exceptions only those are there.
//
// Threads and lifetimes are those of recblr.h: threads may share bundles, engines and allow-lists; a Result belongs to
// one request at a time. Views end with what they are views of.
#ifndef RECBLR_RECBLR_HPP_
#define RECBLR_RECBLR_HPP_

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recblr/expected.hpp"
#include "recblr/ids.hpp"
#include "recblr/recblr.h"

namespace recblr {
inline namespace RECBLR_CLIENT {

inline std::string_view version() { return recblr_version(); }
inline int usable_cpus() { return recblr_usable_cpus(); }

// An item of the catalogue.
struct Item {
  int64_t integer = 0;    // its id, where ids are integers
  std::string_view text;  // its id, where they are strings
  int64_t count = 0;      // how often the training data holds it
};

// The model's indices of known ids: row b's are indices[offsets[b]] to indices[offsets[b + 1] - 1].
struct EncodedIds {
  std::vector<int32_t> indices;
  std::vector<int64_t> offsets, unknown;
};

class Bundle {
 public:
  static Expected<Bundle> try_open(const std::string& path) {
    recblr_bundle* bundle = nullptr;
    const recblr_status status = recblr_bundle_open(path.c_str(), &bundle);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Bundle(bundle);
  }

  std::string_view path() const { return recblr_bundle_path(handle()); }
  std::string_view manifest() const { return recblr_bundle_manifest(handle()); }
  std::string_view fingerprint() const { return recblr_bundle_fingerprint(handle()); }
  int64_t n_items() const { return recblr_bundle_n_items(handle()); }
  int64_t state_size() const { return recblr_bundle_state_size(handle()); }
  int64_t dim() const { return recblr_bundle_dim(handle()); }
  bool has_string_ids() const { return recblr_bundle_id_type(handle()) == RECBLR_STRING_IDS; }
  Span<const float> initial_state() const {
    return {recblr_bundle_initial_state(handle()), static_cast<size_t>(state_size())};
  }
  // The item of an index from 1 to n_items().
  Expected<Item> try_item(int32_t index) const {
    Item item;
    const char* text = nullptr;
    int64_t length = 0;
    const recblr_status status = recblr_bundle_item(handle(), index, &item.integer, &text, &length, &item.count);
    if (status != RECBLR_OK) return detail::last_failure(status);
    if (text != nullptr) item.text = {text, static_cast<size_t>(length)};
    return item;
  }
  Expected<EncodedIds> try_encode(const recblr_ids& ids, const char* name = "ids") const {
    EncodedIds encoded;
    const bool is_valid = ids.n_rows > 0 && ids.offsets != nullptr;
    const int64_t count = is_valid ? ids.offsets[ids.n_rows] : 0;
    encoded.indices.resize(static_cast<size_t>(count < 0 ? 0 : count));
    encoded.offsets.resize(is_valid ? static_cast<size_t>(ids.n_rows) + 1 : 1);
    encoded.unknown.resize(encoded.offsets.size() - 1);
    const recblr_status status = recblr_bundle_encode(handle(), &ids, name, encoded.indices.data(),
                                                      encoded.offsets.data(), encoded.unknown.data());
    if (status != RECBLR_OK) return detail::last_failure(status);
    encoded.indices.resize(static_cast<size_t>(encoded.offsets.back()));
    return encoded;
  }
#if defined(__cpp_exceptions)
  explicit Bundle(const std::string& path) : Bundle(detail::value_or_throw(try_open(path))) {}
  Item item(int32_t index) const { return detail::value_or_throw(try_item(index)); }
  EncodedIds encode(const recblr_ids& ids, const char* name = "ids") const {
    return detail::value_or_throw(try_encode(ids, name));
  }
#endif
  recblr_bundle* handle() const { return handle_.get(); }

 private:
  explicit Bundle(recblr_bundle* bundle) : handle_(bundle) {}
  std::unique_ptr<recblr_bundle, detail::Freeing<recblr_bundle_free>> handle_;
};

// Items to choose from, looked up once for many requests.
class AllowList {
 public:
  // `ids` are one row.
  static Expected<AllowList> try_create(const recblr_ids& ids) {
    recblr_allow_list* list = nullptr;
    const recblr_status status = recblr_allow_list_create(&ids, &list);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return AllowList(list);
  }
#if defined(__cpp_exceptions)
  explicit AllowList(const recblr_ids& ids) : AllowList(detail::value_or_throw(try_create(ids))) {}
#endif
  size_t size() const { return static_cast<size_t>(recblr_allow_list_size(handle())); }
  recblr_allow_list* handle() const { return handle_.get(); }

 private:
  explicit AllowList(recblr_allow_list* list) : handle_(list) {}
  std::unique_ptr<recblr_allow_list, detail::Freeing<recblr_allow_list_free>> handle_;
};

// The best items of one user; a view of a Result.
class Ranking {
 public:
  explicit Ranking(const recblr_ranking& ranking) : ranking_(ranking) {}
  size_t size() const { return static_cast<size_t>(ranking_.count); }
  bool has_string_ids() const { return ranking_.strings != nullptr; }
  int64_t integer(size_t j) const { return ranking_.integers[j]; }
  std::string_view string(size_t j) const { return {ranking_.strings[j], static_cast<size_t>(ranking_.lengths[j])}; }
  float score(size_t j) const { return ranking_.scores[j]; }
  Span<const int32_t> indices() const { return {ranking_.indices, size()}; }
  Span<const float> scores() const { return {ranking_.scores, size()}; }
  int64_t unknown() const { return ranking_.unknown; }
  bool popular() const { return ranking_.popular != 0; }

 private:
  recblr_ranking ranking_;
};

// The memory of an answer, to be used again.
class Result {
 public:
  static Expected<Result> try_create() {
    recblr_result* result = nullptr;
    const recblr_status status = recblr_result_create(&result);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Result(result);
  }
  // 0 where it holds no answer.
  size_t n_rows() const { return static_cast<size_t>(recblr_result_n_rows(handle())); }
  Expected<Ranking> try_row(size_t row) const {
    recblr_ranking ranking{};
    const recblr_status status = recblr_result_row(handle(), static_cast<int64_t>(row), &ranking);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Ranking(ranking);
  }
#if defined(__cpp_exceptions)
  Result() : Result(detail::value_or_throw(try_create())) {}
  Ranking row(size_t row) const { return detail::value_or_throw(try_row(row)); }
#endif
  recblr_result* handle() const { return handle_.get(); }

 private:
  explicit Result(recblr_result* result) : handle_(result) {}
  std::unique_ptr<recblr_result, detail::Freeing<recblr_result_free>> handle_;
};

// What is asked; views of what the caller holds until the call returns. See recblr_request.
struct Request {
  explicit Request(const recblr_ids& rows) : items(rows) {}

  // One of the ids that may be ranked: all, a list, or the row of only_ids with the same number.
  struct Only {
    bool all = false;
    const AllowList* list = nullptr;
  };

  recblr_ids items;                   // B rows: histories, or what is new since `states`
  Span<const float> states;           // [B, S]; empty: all users are new
  Span<float> new_states;             // [B, S] written; empty: nobody wants them
  int64_t k = 0;                      // results per user; 0: 10, or all items of a smaller catalogue
  bool exclude_seen = true;           // leave out the items of the row
  std::optional<recblr_ids> exclude;  // B rows of ids to leave out besides
  std::vector<Only> only;             // empty: all items, unless there are only_ids; one for all; or, per row, B
  bool only_per_row = false;
  std::optional<recblr_ids> only_ids;  // a row for each entry of `only`; without entries, one row for all users
  std::optional<double> timeout;       // seconds that it may wait
  bool are_new_items = false;          // `items` are called new_items in messages, not histories
};

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
  const auto failed = [](const Failure& failure) {
    return recblr_set_error(static_cast<recblr_status>(failure.status), failure.message.c_str());
  };
#if defined(__cpp_exceptions)
  try {
    const Expected<void> done = backend.run(*run);
    return done ? RECBLR_OK : failed(done.error());
  } catch (const Error& error) {
    return recblr_set_error(static_cast<recblr_status>(error.status()), error.what());
  } catch (const std::exception& error) {
    return recblr_set_error(RECBLR_BACKEND_FAILED, error.what());
  } catch (...) {
    return recblr_set_error(RECBLR_BACKEND_FAILED, "the backend threw what is no std::exception");
  }
#else
  const Expected<void> done = backend.run(*run);
  return done ? RECBLR_OK : failed(done.error());
#endif
}

inline void release_backend(void* context) noexcept { delete static_cast<std::shared_ptr<Backend>*>(context); }

using Done = std::function<void(Expected<void>)>;

inline void call_done(void* context, recblr_status status) noexcept {
  const std::unique_ptr<Done> done(static_cast<Done*>(context));
  (*done)(expected(status));
}

// The C structures of a request, which point into each other and into the request.
class CRequest {
 public:
  explicit CRequest(const Request& request) : request_() {
    request_.struct_size = sizeof request_;
    request_.items = request.items;
    request_.states = request.states.data();
    request_.new_states = request.new_states.data();
    request_.k = request.k;
    request_.exclude_seen = request.exclude_seen;
    request_.exclude = request.exclude ? &*request.exclude : nullptr;
    request_.only_ids = request.only_ids ? &*request.only_ids : nullptr;
    request_.only_per_row = request.only_per_row;
    request_.n_only = static_cast<int64_t>(request.only.size());
    if (request.only.empty() && request.only_ids) request_.n_only = request.only_ids->n_rows;
    for (const Request::Only& only : request.only) {
      all_.push_back(only.all);
      lists_.push_back(only.list == nullptr ? nullptr : only.list->handle());
    }
    if (!all_.empty()) {
      request_.only_all = all_.data();
      request_.only_lists = lists_.data();
    }
    request_.timeout = request.timeout.value_or(0);
    request_.are_new_items = request.are_new_items;
  }
  CRequest(const CRequest&) = delete;
  CRequest& operator=(const CRequest&) = delete;
  const recblr_request* get() const { return &request_; }

 private:
  recblr_request request_;
  std::vector<uint8_t> all_;
  std::vector<const recblr_allow_list*> lists_;
};

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

#endif  // RECBLR_RECBLR_HPP_
