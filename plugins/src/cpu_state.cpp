// Moves user states between a pool and a batch on the CPU.
#include <algorithm>
#include <string>

#include "parallel.h"
#include "ragged.h"
#include "status.h"

namespace recblr {

namespace {

int64_t slot_of(const recblr_state_move& a, int64_t row) { return int_at(a.slots, a.slots_type, row); }

std::string problem_with(const recblr_state_move& a) {
  if (a.n_rows < 0 || a.n_slots < 0 || a.state_size < 1) {
    return "n_rows is " + std::to_string(a.n_rows) + ", n_slots " + std::to_string(a.n_slots) + ", state_size " +
           std::to_string(a.state_size) + ": the first two must be at least 0, the last at least 1";
  }
  if (a.slots_type != RECBLR_INT64 && a.slots_type != RECBLR_INT32) {
    return "slots_type is " + std::to_string(a.slots_type) + ": it must be int64 or int32";
  }
  if (a.n_rows > 0 && (a.slots == nullptr || a.states == nullptr)) return "slots or states is NULL";
  for (int64_t row = 0; row < a.n_rows; ++row) {
    const int64_t slot = slot_of(a, row);
    if (slot >= a.n_slots) {
      return "slot " + std::to_string(slot) + " of row " + std::to_string(row) +
             " is not below n_slots = " + std::to_string(a.n_slots);
    }
    if (slot >= 0 && a.pool == nullptr) return "pool is NULL";
  }
  return "";
}

template <typename Move>
int move_states(const recblr_state_move* arguments, const Move& move) noexcept {
  try {
    if (arguments == nullptr) return fail(RECBLR_INVALID_ARGUMENT, "the arguments are NULL");
    const recblr_state_move& a = *arguments;
    const std::string problem = problem_with(a);
    if (!problem.empty()) return fail(RECBLR_INVALID_ARGUMENT, problem);
    in_parallel(a.n_rows, useful_threads(a.n_threads, a.n_rows, a.n_rows * a.state_size),
                [&](int64_t row, int64_t) { move(a, slot_of(a, row), a.states + row * a.state_size); });
    return RECBLR_OK;
  } catch (const std::exception&) {
    return fail(RECBLR_OUT_OF_MEMORY, "out of memory");
  }
}

}  // namespace

}  // namespace recblr

extern "C" int recblr_gather_state_cpu(const recblr_state_move* arguments) {
  return recblr::move_states(arguments, [](const recblr_state_move& a, int64_t slot, float* state) {
    if (slot < 0 && a.initial == nullptr) {
      std::fill(state, state + a.state_size, 0.0f);
      return;
    }
    const float* from = slot < 0 ? a.initial : a.pool + slot * a.state_size;
    std::copy(from, from + a.state_size, state);
  });
}

extern "C" int recblr_scatter_state_cpu(const recblr_state_move* arguments) {
  return recblr::move_states(arguments, [](const recblr_state_move& a, int64_t slot, const float* state) {
    if (slot >= 0) std::copy(state, state + a.state_size, a.pool + slot * a.state_size);
  });
}
