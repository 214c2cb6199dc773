// How much one request may ask for, however it came.
#pragma once

#include <cstdint>

#include "serving/question.h"

namespace recblr::serving {

struct QuestionLimits {
  int64_t max_users = 1024;
  int64_t max_history = 100'000;  // ids of one user
  int64_t max_ids = 1'000'000;    // histories, exclusions and allow-list together
  int64_t max_k = 100'000;        // results per user; a catalogue of fewer items has its own bound
  int64_t max_results = 1'000'000;
};

// Fails with kInvalidArgument, the value and the limit. `n_items` of the catalogue.
Expected<void> check_limits(const Question& question, const QuestionLimits& limits, int64_t n_items);

}  // namespace recblr::serving
