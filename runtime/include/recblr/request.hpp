// What is asked, and its answers; a part of recblr.hpp.
#ifndef RECBLR_REQUEST_HPP_
#define RECBLR_REQUEST_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "recblr/bundle.hpp"
#include "recblr/expected.hpp"
#include "recblr/recblr.h"

namespace recblr {
inline namespace RECBLR_CLIENT {

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
  // Of the model that answered; "" where it holds no answer.
  std::string_view fingerprint() const { return recblr_result_fingerprint(handle()); }
  Expected<Ranking> try_row(size_t row) const {
    recblr_ranking ranking{};
    const recblr_status status = recblr_result_row(handle(), static_cast<int64_t>(row), &ranking);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Ranking(ranking);
  }
  // Lets go of the answer and of the model that gave it; the memory stays. See recblr_result_clear.
  Expected<void> try_clear() { return detail::expected(recblr_result_clear(handle())); }
#if defined(__cpp_exceptions)
  Result() : Result(detail::value_or_throw(try_create())) {}
  Ranking row(size_t row) const { return detail::value_or_throw(try_row(row)); }
  void clear() { detail::value_or_throw(try_clear()); }
#endif
  recblr_result* handle() const { return handle_.get(); }

 private:
  explicit Result(recblr_result* result) : handle_(result) {}
  std::unique_ptr<recblr_result, detail::Freeing<recblr_result_free>> handle_;
};

// What decides how users are ranked, and what; views of what the caller holds until the call returns.
struct RankOptions {
  // One of the ids that may be ranked: all, a list, or the row of only_ids with the same number.
  struct Only {
    bool all = false;
    const AllowList* list = nullptr;
  };

  int64_t k = 0;                      // results per user; 0: 10, or all items of a smaller catalogue
  bool exclude_seen = true;           // leave out the items of the history, or of the row
  std::optional<recblr_ids> exclude;  // B rows of ids to leave out besides
  std::vector<Only> only;             // empty: all items, unless there are only_ids; one for all; or, per row, B
  bool only_per_row = false;
  std::optional<recblr_ids> only_ids;  // a row for each entry of `only`; without entries, one row for all users
  std::optional<double> timeout;       // seconds that it may wait
};

// What an engine is asked. See recblr_request.
struct Request : RankOptions {
  explicit Request(const recblr_ids& rows) : items(rows) {}

  recblr_ids items;            // B rows: histories, or what is new since `states`
  Span<const float> states;    // [B, S]; empty: all users are new
  Span<float> new_states;      // [B, S] written; empty: nobody wants them
  bool are_new_items = false;  // `items` are called new_items in messages, not histories
  bool may_run_here = false;   // Engine::submit may run it in its caller's thread, where a worker's place is free
};

namespace detail {

// The C structures of a request, which point into each other and into the request.
class CRequest {
 public:
  explicit CRequest(const RankOptions& options) : request_() {
    request_.struct_size = sizeof request_;
    request_.k = options.k;
    request_.exclude_seen = options.exclude_seen;
    request_.exclude = options.exclude ? &*options.exclude : nullptr;
    request_.only_ids = options.only_ids ? &*options.only_ids : nullptr;
    request_.only_per_row = options.only_per_row;
    request_.n_only = static_cast<int64_t>(options.only.size());
    if (options.only.empty() && options.only_ids) request_.n_only = options.only_ids->n_rows;
    for (const RankOptions::Only& only : options.only) {
      all_.push_back(only.all);
      lists_.push_back(only.list == nullptr ? nullptr : only.list->handle());
    }
    if (!all_.empty()) {
      request_.only_all = all_.data();
      request_.only_lists = lists_.data();
    }
    request_.timeout = options.timeout.value_or(0);
  }
  explicit CRequest(const Request& request) : CRequest(static_cast<const RankOptions&>(request)) {
    request_.items = request.items;
    // An empty vector may have memory; to the C API there are states where there is a pointer.
    request_.states = request.states.empty() ? nullptr : request.states.data();
    request_.new_states = request.new_states.empty() ? nullptr : request.new_states.data();
    request_.are_new_items = request.are_new_items;
    request_.may_run_here = request.may_run_here;
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

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_REQUEST_HPP_
