#include "abi/arguments.h"

#include <stdexcept>

#include "abi/ragged.h"

namespace recblr {

namespace {

std::string text(int64_t value) { return std::to_string(value); }

template <typename Arguments>
const Arguments& not_null(const Arguments* arguments) {
  if (arguments == nullptr) refuse("the arguments are NULL");
  return *arguments;
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

}  // namespace recblr
