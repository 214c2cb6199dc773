// What a model has made of a user's history, but for the state: the items seen, and those that the state lacks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "users/stores/store.h"

namespace recblr {

struct UserItems {
  Place place;                // the last event that is in here; seq is 0 for none
  std::vector<int32_t> seen;  // what the state has been fed, ascending, each once; with max_history, of what is kept
  // Without max_history: items that the state lacks, in order. With it: the user's latest max_history items, in order,
  // 0 for one that the model does not know.
  std::vector<int32_t> recent;
  int64_t n_new = 0;  // how many of `recent`, at its end, the state lacks; at most max_history

  void clear();

  // Adds an event's items, 0 for one that is not known.
  void add(const int32_t* items, int64_t n, std::optional<int64_t> max_history);

  // Whether the event that the state ends with is trimmed by now: then the state is to be computed anew.
  bool is_state_outdated(std::optional<int64_t> max_history) const { return max_history && n_new >= *max_history; }

  // Appends to `fed` what the state is to be fed, in order, and takes it for seen from then on.
  void feed(std::optional<int64_t> max_history, std::vector<int32_t>* fed);
};

}  // namespace recblr
