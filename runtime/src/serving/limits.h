// How much one request may ask for, however it came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "serving/question.h"

namespace recblr::serving {

struct QuestionLimits {
  int64_t max_users = 1024;
  int64_t max_history = 100'000;  // ids of one user
  int64_t max_ids = 1'000'000;    // histories, exclusions and allow-list together
  int64_t max_k = 100'000;        // results per user; a catalogue of fewer items has its own bound
  int64_t max_results = 1'000'000;
};

// Of the id that a request may have, which is sent back with its answer.
inline constexpr size_t kMostIdBytes = 1024;
Expected<void> check_request_id(std::string_view id);

// "the request has 1,025 users, the limit is 1,024: send fewer at once"
Failure too_many(int64_t n, const char* what, int64_t most);

// Fails with kInvalidArgument, the value and the limit. `n_items` of the catalogue.
Expected<void> check_limits(const Question& question, const QuestionLimits& limits, int64_t n_items);

}  // namespace recblr::serving
