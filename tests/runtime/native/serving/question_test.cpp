#include "serving/question.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "served.h"

namespace recblr::serving {
namespace {

void add_row(const std::vector<int64_t>& ids, IdRows* rows) {
  for (const int64_t id : ids) rows->add(id);
  rows->end_row();
}

class QuestionTest : public testing::Test {
 protected:
  void ask() {
    const Expected<void> asked = serving::ask(served_.bundle, served_.engine, &question_);
    ASSERT_TRUE(asked) << asked.error().message;
  }
  std::string refusal() {
    const Expected<void> asked = serving::ask(served_.bundle, served_.engine, &question_);
    if (asked) return "answered";
    EXPECT_EQ(asked.error().status, Status::kInvalidArgument);
    return asked.error().message;
  }
  std::vector<int64_t> ids(size_t row) {
    const Ranking ranking = question_.result.row(row);
    std::vector<int64_t> ids;
    for (size_t j = 0; j < ranking.size(); ++j) ids.push_back(ranking.integer(j));
    return ids;
  }

  Served served_ = served();
  Question question_;
};

TEST_F(QuestionTest, StatesCarryOn) {
  add_row({10, 30}, &question_.items);
  add_row({20}, &question_.items);
  question_.k = 3;
  question_.wants_states = true;
  ask();
  ASSERT_EQ(question_.new_states.size(), 32U);
  const std::vector<float> states = question_.new_states;
  const std::vector<int64_t> first = ids(0);
  question_.clear();
  add_row({}, &question_.items);
  add_row({}, &question_.items);
  question_.states = states;
  question_.k = 6;
  ask();
  EXPECT_TRUE(question_.new_states.empty());
  EXPECT_EQ(ids(0).size(), 6U);  // what the state has seen is not left out
}

TEST_F(QuestionTest, LeavesOutAndChooses) {
  add_row({10}, &question_.items);
  add_row({99}, &question_.items);
  add_row({40, 50}, &question_.exclude.emplace());
  add_row({}, &*question_.exclude);
  add_row({20, 40}, &question_.only.emplace());
  ask();
  EXPECT_EQ(ids(0), std::vector<int64_t>{20});
  EXPECT_EQ(ids(1).size(), 2U);
  EXPECT_EQ(question_.result.row(1).unknown(), 1);
  EXPECT_EQ(question_.n_ids(), 6);
}

TEST_F(QuestionTest, NoUsersAreAnsweredWithNothing) {
  question_.wants_states = true;
  ask();
  EXPECT_EQ(question_.result.n_rows(), 0U);
}

TEST_F(QuestionTest, ZerosAreNoDefaults) {
  add_row({10}, &question_.items);
  question_.k = 0;
  EXPECT_EQ(refusal(), "k is 0: give a whole number from 1 to 6");
  question_.k = -1;
  EXPECT_EQ(refusal(), "k is -1: give a whole number from 1 to 6");
  question_.k.reset();
  question_.timeout = 0;
  EXPECT_EQ(refusal(), "timeout is 0: give seconds above 0");
}

TEST_F(QuestionTest, StatesOfAnotherSizeAreRefused) {
  add_row({10}, &question_.items);
  question_.states.resize(15);
  EXPECT_EQ(refusal(), "states has 15 numbers, this model's states need 16");
}

TEST_F(QuestionTest, WhatTakesLongIsNotShort) {
  const auto few = [this] {
    question_.clear();
    for (int b = 0; b < 8; ++b) add_row({10, 20}, &question_.items);
  };
  few();
  EXPECT_TRUE(is_short(question_, served_.bundle));
  question_.wants_states = true;
  EXPECT_TRUE(is_short(question_, served_.bundle));
  add_row({}, &question_.items);
  EXPECT_FALSE(is_short(question_, served_.bundle));
  few();
  add_row(std::vector<int64_t>(200, 10), &question_.only.emplace());
  EXPECT_FALSE(is_short(question_, served_.bundle));
}

TEST_F(QuestionTest, ManyResultsAreNotShort) {
  const tests::TemporaryFolder folder;
  tests::TinyBundle tiny;
  tiny.n_items = 2000;
  tests::write_bundle(tiny, folder.path());
  const Bundle bundle(folder.path());
  for (int b = 0; b < 8; ++b) add_row({10}, &question_.items);
  EXPECT_TRUE(is_short(question_, bundle));
  question_.k = 2000;
  EXPECT_FALSE(is_short(question_, bundle));
  question_.k = 120;
  EXPECT_TRUE(is_short(question_, bundle));
  question_.wants_states = true;
  EXPECT_FALSE(is_short(question_, bundle));
}

TEST_F(QuestionTest, KeptBytesAreThoseOfMemory) {
  add_row({10}, &question_.items);
  ask();
  EXPECT_LT(question_.kept_bytes(), 10'000U);
  question_.items.add(std::string(5'000'000, 'a'));
  question_.items.end_row();
  EXPECT_GT(question_.kept_bytes(), 5'000'000U);
  question_.clear();
  EXPECT_GT(question_.kept_bytes(), 5'000'000U);
  Question with_states;
  with_states.states.resize(1'000'000);
  EXPECT_GT(with_states.kept_bytes(), kMostKeptBytes);
}

TEST_F(QuestionTest, SubmitCallsDone) {
  add_row({10}, &question_.items);
  int calls = 0;
  const Expected<uint64_t> ticket = submit(served_.bundle, served_.engine, &question_, [&](Expected<void> answered) {
    EXPECT_TRUE(answered);
    ++calls;
  });
  ASSERT_TRUE(ticket) << ticket.error().message;
  EXPECT_EQ(calls, 1);  // an engine that does not batch answers at once
  EXPECT_EQ(ids(0).size(), 5U);
}

}  // namespace
}  // namespace recblr::serving
