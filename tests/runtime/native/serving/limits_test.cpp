#include "serving/limits.h"

#include <gtest/gtest.h>

#include <string>

namespace recblr::serving {
namespace {

std::string checked(const Question& question, const QuestionLimits& limits, int64_t n_items = 1000) {
  const Expected<void> checked = check_limits(question, limits, n_items);
  return checked ? "" : checked.error().message;
}

void add_row(int64_t n, IdRows* rows) {
  for (int64_t j = 0; j < n; ++j) rows->add(j);
  rows->end_row();
}

TEST(Limits, NameTheValueAndTheLimit) {
  Question question;
  QuestionLimits limits;
  EXPECT_EQ(checked(question, limits), "");
  add_row(3, &question.items);
  add_row(5, &question.items);
  EXPECT_EQ(checked(question, limits), "");
  limits.max_users = 1;
  EXPECT_EQ(checked(question, limits), "the request has 2 users, the limit is 1: send fewer at once");
  limits = {};
  limits.max_history = 4;
  EXPECT_EQ(checked(question, limits), "user 1 has 5 items, the limit is 4: send the latest ones");
  limits = {};
  limits.max_ids = 10;
  EXPECT_EQ(checked(question, limits), "");
  add_row(3, &question.only.emplace());
  EXPECT_EQ(checked(question, limits), "the request has 11 item ids, the limit is 10: send fewer at once");
  limits = {};
  limits.max_k = 9;
  EXPECT_EQ(checked(question, limits), "k is 10, the limit is 9: ask for fewer");
  EXPECT_EQ(checked(question, limits, 9), "");  // the default is all of a small catalogue
  limits = {};
  limits.max_results = 1999;
  question.k = 1000;
  EXPECT_EQ(checked(question, limits),
            "2 users with k = 1,000 are 2,000 results, the limit is 1,999: ask for fewer at once");
  question.k = 1001;
  EXPECT_EQ(checked(question, limits), "");  // the engine says what is wrong
}

}  // namespace
}  // namespace recblr::serving
