#include "serving/limits.h"

#include <algorithm>
#include <string>

#include "serving/text.h"

namespace recblr::serving {
namespace {

Failure beyond(const std::string& what, int64_t most, const char* advice) {
  return {Status::kInvalidArgument, what + ", the limit is " + grouped(most) + ": " + advice};
}

}  // namespace

Expected<void> check_request_id(std::string_view id) {
  if (id.size() <= kMostIdBytes) return {};
  return Failure{Status::kInvalidArgument, "id has " + grouped(static_cast<int64_t>(id.size())) +
                                               " bytes: give at most " + grouped(int64_t{kMostIdBytes})};
}

Failure too_many(int64_t n, const char* what, int64_t most) {
  return beyond("the request has " + grouped(n) + " " + what, most, "send fewer at once");
}

Expected<void> check_limits(const Question& question, const QuestionLimits& limits, int64_t n_items) {
  const int64_t n_users = question.n_users();
  if (n_users > limits.max_users) return too_many(n_users, "users", limits.max_users);
  for (int64_t b = 0; b < n_users; ++b) {
    if (question.items.size(b) > limits.max_history) {
      return beyond("user " + grouped(b) + " has " + grouped(question.items.size(b)) + " items", limits.max_history,
                    "send the latest ones");
    }
  }
  if (question.n_ids() > limits.max_ids) return too_many(question.n_ids(), "item ids", limits.max_ids);
  const int64_t k = question.k.value_or(std::min(kDefaultK, n_items));
  if (k < 1 || k > n_items) return {};  // which the engine refuses
  if (k > limits.max_k) return beyond("k is " + grouped(k), limits.max_k, "ask for fewer");
  if (n_users > 0 && k > limits.max_results / n_users) {
    return beyond(grouped(n_users) + " users with k = " + grouped(k) + " are " + grouped(n_users * k) + " results",
                  limits.max_results, "ask for fewer at once");
  }
  return {};
}

}  // namespace recblr::serving
