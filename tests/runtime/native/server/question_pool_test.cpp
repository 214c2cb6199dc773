#include "server/answer/question_pool.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace recblr::server {
namespace {

TEST(QuestionPool, KeepsWhatIsSmall) {
  QuestionPool pool;
  auto question = pool.take();
  question->items.add(int64_t{7});
  question->items.end_row();
  const serving::Question* const small = question.get();
  pool.give_back(std::move(question));
  question = pool.take();
  EXPECT_EQ(question.get(), small);
  EXPECT_EQ(question->n_ids(), 0);
}

TEST(QuestionPool, LetsGoOfWhatIsLarge) {
  QuestionPool pool;
  auto text = pool.take(), states = pool.take();
  text->items.add(std::string(2'000'000, 'a'));
  text->items.end_row();
  states->states.resize(1'000'000);
  pool.give_back(std::move(text));
  pool.give_back(std::move(states));
  EXPECT_LT(pool.take()->kept_bytes(), 10'000U);
  EXPECT_LT(pool.take()->kept_bytes(), 10'000U);
}

}  // namespace
}  // namespace recblr::server
