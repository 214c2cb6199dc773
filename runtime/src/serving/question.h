// One request for rankings with the memory for it and its answer, however it came: /v1, OIP over HTTP or gRPC, Triton.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "recblr/recblr.hpp"
#include "serving/id_rows.h"

namespace recblr::serving {

inline constexpr int64_t kDefaultK = 10;  // recblr_request's, or all items of a smaller catalogue

// B rows. Used again: clear() keeps the memory.
struct Question {
  IdRows items;                   // histories, or what is new since `states`
  std::optional<IdRows> exclude;  // B rows
  std::optional<IdRows> only;     // one row for all users
  std::optional<int64_t> k;       // none: the library's default
  bool exclude_seen = true;
  std::optional<double> timeout;  // seconds
  std::vector<float> states;      // [B, S], or empty: all users are new
  bool wants_states = false;      // new_states is filled
  std::vector<float> new_states;  // [B, S]
  bool may_run_here = false;      // `submit` may answer it in its caller's thread
  Result result;

  void clear();
  // It waits no longer than `most` seconds, where there is such a limit.
  void limit_timeout(std::optional<double> most) {
    if (most) timeout = std::min(timeout.value_or(*most), *most);
  }
  int64_t n_users() const { return items.n_rows(); }
  // Items and ids in all: what a request costs.
  int64_t n_ids() const;
  // How many items all rows of the answer rank.
  int64_t n_results() const;
  // About how many bytes it holds on to for the next request, those of the answer included. Before clear().
  size_t kept_bytes() const;
};

// A question that holds on to more is not worth keeping for another request.
inline constexpr size_t kMostKeptBytes = 1024 * 1024;

// Whether the answer takes a fraction of a millisecond: then it may be made where the question came in.
bool is_short(const Question& question, const Bundle& bundle);

// Refuses values that stand for a default in the C API.
Expected<void> check_values(const Question& question, int64_t n_items);

// Waits for the answer, in question.result and new_states. `engine` is one of `bundle`.
Expected<void> ask(const Bundle& bundle, const Engine& engine, Question* question);

// The same without waiting: `done` is called once, in any thread, perhaps before this returns, and must neither throw
// nor wait for another request. The question must stay until then. Where it fails `done` is not called. Gives a ticket
// for Engine::cancel.
Expected<uint64_t> submit(const Bundle& bundle, const Engine& engine, Question* question,
                          std::function<void(Expected<void>)> done);

}  // namespace recblr::serving
