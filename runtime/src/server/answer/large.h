// What takes so long to read or write that other connections would wait for it: that is done in the pool.
#pragma once

#include <cstddef>
#include <cstdint>

#include "serving/question.h"

namespace recblr::server {

inline constexpr size_t kLargeBody = 64 * 1024;  // bytes

// Of an answered question.
inline bool is_large_answer(const serving::Question& question) {
  constexpr int64_t kLargeAnswer = 4096;  // results, and numbers of states
  return question.n_results() + static_cast<int64_t>(question.new_states.size()) > kLargeAnswer;
}

}  // namespace recblr::server
