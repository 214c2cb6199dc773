#include "abi/arguments.h"

#include <limits>
#include <stdexcept>

#include "abi/ragged.h"

namespace recblr {

namespace {

// Items and rows are numbered by int32_t, and the item behind the last one must have a number, too.
constexpr int64_t kMost = std::numeric_limits<int32_t>::max() - 1;

std::string text(int64_t value) { return std::to_string(value); }

template <typename Arguments>
const Arguments& not_null(const Arguments* arguments) {
  if (arguments == nullptr) refuse("the arguments are NULL");
  return *arguments;
}

void check_range(const char* what, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return;
  refuse(std::string(what) + " is " + text(value) + ": it must be from " + text(least) + " to " + text(most));
}

void check_data_type(int32_t dtype) {
  if (dtype == RECBLR_FLOAT32 || dtype == RECBLR_FLOAT16 || dtype == RECBLR_BFLOAT16) return;
  refuse("dtype is " + text(dtype) + ": it must be float32, float16 or bfloat16");
}

void check_integer_type(const char* what, int32_t type) {
  if (type == RECBLR_INT64 || type == RECBLR_INT32) return;
  refuse(std::string(what) + " is " + text(type) + ": it must be int64 or int32");
}

// Of the ops along the sequence: what both kinds of memory have in common.
template <typename Arguments>
void check_sequence(const Arguments& a) {
  if (a.n_tokens < 0 || a.n_rows < 0 || a.width < 1) {
    refuse("n_tokens is " + text(a.n_tokens) + ", n_rows " + text(a.n_rows) + ", width " + text(a.width) +
           ": the first two must be at least 0, the last at least 1");
  }
  check_data_type(a.dtype);
  check_integer_type("offsets_type", a.offsets_type);
  if (a.offsets == nullptr) refuse("offsets is NULL");
  if (a.n_rows == 0 && a.n_tokens > 0) refuse(text(a.n_tokens) + " tokens in no row");
}

template <typename Arguments>
void check_offsets(const Arguments& a) {
  const int64_t first = offset(a, 0), last = offset(a, a.n_rows);
  if (first != 0 || last != a.n_tokens) {
    refuse("offsets go from " + text(first) + " to " + text(last) +
           ": they must go from 0 to n_tokens = " + text(a.n_tokens));
  }
  for (int64_t row = 0; row < a.n_rows; ++row) {
    if (offset(a, row + 1) < offset(a, row)) refuse("offsets fall after row " + text(row));
  }
}

void check_taps(const recblr_causal_conv1d& a) {
  if (a.taps < 1) refuse("taps is " + text(a.taps) + ": give at least 1");
}

// int32_t [n_rows + 1] or int64_t: from 0, not falling.
template <typename Offset>
void check_not_falling(const char* what, const Offset* offsets, int64_t n_rows) {
  for (int64_t row = 0; row < n_rows; ++row) {
    if (offsets[row + 1] < offsets[row]) refuse(std::string(what) + " fall after row " + text(row));
  }
}

void check_items(const char* what, const int32_t* items, int64_t count, int64_t n_items) {
  for (int64_t at = 0; at < count; ++at) check_range(what, items[at], 0, n_items);
}

}  // namespace

void refuse(const std::string& problem) { throw std::invalid_argument(problem); }

const recblr_gated_scan& checked_on_host(const recblr_gated_scan* arguments) {
  const recblr_gated_scan& a = checked_on_device(arguments);
  check_offsets(a);
  return a;
}

const recblr_causal_conv1d& checked_on_host(const recblr_causal_conv1d* arguments) {
  const recblr_causal_conv1d& a = checked_on_device(arguments);
  check_offsets(a);
  return a;
}

const recblr_gated_scan& checked_on_device(const recblr_gated_scan* arguments) {
  const recblr_gated_scan& a = not_null(arguments);
  check_sequence(a);
  return a;
}

const recblr_causal_conv1d& checked_on_device(const recblr_causal_conv1d* arguments) {
  const recblr_causal_conv1d& a = not_null(arguments);
  check_sequence(a);
  check_taps(a);
  return a;
}

const recblr_state_move& checked_on_device(const recblr_state_move* arguments) {
  const recblr_state_move& a = not_null(arguments);
  if (a.n_rows < 0 || a.n_slots < 0 || a.state_size < 1) {
    refuse("n_rows is " + text(a.n_rows) + ", n_slots " + text(a.n_slots) + ", state_size " + text(a.state_size) +
           ": the first two must be at least 0, the last at least 1");
  }
  check_integer_type("slots_type", a.slots_type);
  return a;
}

const recblr_dropout& checked(const recblr_dropout* arguments) {
  const recblr_dropout& a = not_null(arguments);
  if (a.n_elements < 0) refuse("n_elements is " + text(a.n_elements) + ": give at least 0");
  if (!(a.p >= 0.0f && a.p < 1.0f)) refuse("p is " + std::to_string(a.p) + ": give at least 0 and less than 1");
  check_data_type(a.dtype);
  if (a.n_elements > 0 && (a.x == nullptr || a.y == nullptr)) refuse("x or y is NULL");
  return a;
}

const recblr_cross_entropy& checked(const recblr_cross_entropy* arguments) {
  const recblr_cross_entropy& a = not_null(arguments);
  if (a.n_rows < 0 || a.width < 2) {
    refuse("n_rows is " + text(a.n_rows) + ", width " + text(a.width) +
           ": the first must be at least 0, the second at least 2");
  }
  check_data_type(a.dtype);
  if (a.n_rows > 0 && (a.logits == nullptr || a.targets == nullptr || a.losses == nullptr)) {
    refuse("logits, targets or losses is NULL");
  }
  for (int64_t row = 0; row < a.n_rows; ++row) {
    if (a.targets[row] >= 1 && a.targets[row] < a.width) continue;
    refuse("target " + text(a.targets[row]) + " of row " + text(row) + " is not from 1 to " + text(a.width - 1));
  }
  return a;
}

const recblr_top_items& checked(const recblr_top_items* arguments) {
  const recblr_top_items& a = not_null(arguments);
  check_range("n_rows", a.n_rows, 0, kMost);
  check_range("n_items", a.n_items, 0, kMost);
  check_range("dim", a.dim, 1, kMost);
  check_range("k", a.k, 1, kMost);
  check_range("n_exclude", a.n_exclude, 0, std::numeric_limits<int64_t>::max());
  check_range("n_only", a.n_only, 0, std::numeric_limits<int64_t>::max());
  if (a.n_rows == 0) return a;
  if (a.queries == nullptr || a.embedding == nullptr || a.top_items == nullptr || a.top_scores == nullptr) {
    refuse("queries, embedding, top_items or top_scores is NULL");
  }
  if (a.exclude == nullptr && a.n_exclude > 0) refuse("exclude is NULL, but n_exclude is not 0");
  for (int64_t at = 0; at < a.n_exclude; ++at) {
    check_range("a row of exclude", a.exclude[2 * at], 0, a.n_rows - 1);
    check_range("an item of exclude", a.exclude[2 * at + 1], 0, a.n_items);
  }
  if (a.only == nullptr) {
    if (a.n_only > 0 || a.only_offsets != nullptr) refuse("only is NULL, but it has a size");
    return a;
  }
  check_items("an item of only", a.only, a.n_only, a.n_items);
  if (a.only_offsets == nullptr) return a;
  if (a.only_offsets[0] != 0 || a.only_offsets[a.n_rows] != a.n_only) {
    refuse("only_offsets must go from 0 to n_only = " + text(a.n_only));
  }
  check_not_falling("only_offsets", a.only_offsets, a.n_rows);
  return a;
}

void check_index(const recblr_top_items& a, int64_t index_items, int64_t index_dim) {
  if (index_items == a.n_items && index_dim == a.dim) return;
  refuse("index is of " + text(index_items) + " items of dim " + text(index_dim) + ", the embedding of " +
         text(a.n_items) + " of dim " + text(a.dim));
}

void check_embedding(const void* embedding, int64_t n_items, int64_t dim) {
  if (embedding == nullptr) refuse("embedding is NULL");
  check_range("n_items", n_items, 0, kMost);
  check_range("dim", dim, 1, std::numeric_limits<int64_t>::max());
}

const recblr_model_weights& checked(const recblr_model_weights* weights) {
  const recblr_model_weights& w = not_null(weights);
  check_range("n_items", w.n_items, 1, kMost);
  check_range("dim", w.dim, 1, kMost);
  check_range("width", w.width, 1, kMost);
  check_range("feed_forward", w.feed_forward, 1, kMost);
  check_range("taps", w.taps, 1, kMost);
  check_range("n_layers", w.n_layers, 1, kMost);
  bool complete = w.embedding != nullptr && w.norm_weight != nullptr && w.norm_bias != nullptr && w.layers != nullptr;
  for (int64_t l = 0; complete && l < w.n_layers; ++l) {
    const recblr_layer_weights& a = w.layers[l];
    for (const float* array : {a.in_proj, a.conv_weight, a.conv_bias, a.gates, a.gates_bias, a.decay, a.out_proj,
                               a.recurrent_norm_weight, a.recurrent_norm_bias, a.up, a.up_bias, a.down, a.down_bias,
                               a.feed_forward_norm_weight, a.feed_forward_norm_bias}) {
      complete = complete && array != nullptr;
    }
  }
  if (!complete) refuse("a weight is NULL");
  return w;
}

const recblr_model_run& checked(const recblr_model_run* arguments, int64_t n_items, bool ranks) {
  const recblr_model_run& a = not_null(arguments);
  check_range("n_rows", a.n_rows, 0, std::numeric_limits<int64_t>::max());
  check_range("n_exclude", a.n_exclude, 0, std::numeric_limits<int64_t>::max());
  check_range("k", a.k, 0, std::numeric_limits<int32_t>::max());
  if (a.n_rows == 0) return a;
  if (a.offsets == nullptr || a.state_in == nullptr || a.state_out == nullptr) refuse("offsets or a state is NULL");
  if (a.offsets[0] != 0) refuse("offsets[0] is " + text(a.offsets[0]) + ": it must be 0");
  check_not_falling("offsets", a.offsets, a.n_rows);
  if (a.offsets[a.n_rows] > 0 && a.items == nullptr) refuse("items is NULL");
  for (int64_t at = 0; at < a.offsets[a.n_rows]; ++at) {
    if (a.items[at] >= 1 && a.items[at] <= n_items) continue;
    refuse("items[" + text(at) + "] is " + text(a.items[at]) + ": it must be from 1 to " + text(n_items));
  }
  if (a.k == 0) return a;
  if (!ranks) refuse("the model was made without `ranks`: k must be 0");
  if (a.top_items == nullptr || a.top_scores == nullptr) refuse("top_items or top_scores is NULL");
  if (a.n_exclude > 0 && a.exclude == nullptr) refuse("exclude is NULL");
  int32_t before = 0;
  for (int64_t at = 0; at < a.n_exclude; ++at) {
    const int32_t row = a.exclude[2 * at], item = a.exclude[2 * at + 1];
    if (row < before || row >= a.n_rows || item < 0 || item > n_items) {
      refuse("exclude[" + text(at) + "] is (" + text(row) + ", " + text(item) + "): rows must not fall and be below " +
             text(a.n_rows) + ", items from 0 to " + text(n_items));
    }
    before = row;
  }
  return a;
}

}  // namespace recblr
