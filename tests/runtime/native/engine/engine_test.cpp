#include "engine/engine.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "backends/callback.h"
#include "base/error.h"
#include "id_rows.h"
#include "tiny_bundle.h"
#include "toy_model.h"

namespace recblr {
namespace {

using tests::IdRows;
using tests::Integers;
using tests::Strings;
using tests::TinyBundle;
using Items = std::vector<int32_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    TinyBundle tiny;
    tiny.counts = {5, 9, 5, 1, 9, 0};  // popular: 2, 5, 1, 3, 4, 6
    tests::write_bundle(tiny, folder_.path());
    bundle_ = Bundle::open(folder_.path());
    const auto run = [bundle = bundle_](const ArrayRun& run) { tests::run_toy(*bundle, run); };
    backend_ = std::make_shared<CallbackBackend>(bundle_, Callback{run, {256, 65536, 65536}, 3, "a toy"}, 1);
    engine_ = std::make_unique<Engine>(bundle_, backend_, std::nullopt);
  }

  // A request for the histories that `ids_` holds.
  Request request(const IdRows& rows) {
    ids_ = rows;
    items_ = ids_.ids();
    Request request;
    request.items = &items_;
    return request;
  }
  Items answer(const Request& request, int64_t row = 0) {
    engine_->answer(request, &work_);
    const Ranking ranking = work_.ranking(row);
    return Items(ranking.items, ranking.items + ranking.count);
  }
  std::string error_of(const Request& request) {
    try {
      engine_->answer(request, &work_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.what();
    }
    return "no error";
  }
  std::vector<float> state_of(const Items& items) {
    std::vector<float> state = bundle_->initial_state();
    tests::feed_toy(items.data(), static_cast<int64_t>(items.size()), &state);
    return state;
  }
  Items best(const Items& items, const Items& exclude, size_t k) {
    Items ranking = tests::toy_ranking(*bundle_, state_of(items).data(), exclude);
    ranking.resize(std::min(ranking.size(), k));
    return ranking;
  }

  tests::TemporaryFolder folder_;
  std::shared_ptr<const Bundle> bundle_;
  std::shared_ptr<const Backend> backend_;
  std::unique_ptr<Engine> engine_;
  IdRows ids_ = IdRows(Integers{});
  Ids items_;
  Work work_;
};

TEST_F(EngineTest, RanksEachRowWithoutItsOwnItems) {
  Request request = this->request(IdRows(Integers{{20, 50, 20}, {999, 30}}));
  request.exclude_seen = true;
  request.k = 3;
  EXPECT_EQ(answer(request, 0), best({2, 5, 2}, {2, 5}, 3));
  EXPECT_EQ(answer(request, 1), best({3}, {3}, 3));
  EXPECT_EQ(work_.ranking(0).unknown, 0);
  EXPECT_EQ(work_.ranking(1).unknown, 1);
  EXPECT_FALSE(work_.ranking(1).popular);
  request.exclude_seen = false;
  EXPECT_EQ(answer(request, 0), best({2, 5, 2}, {}, 3));
}

TEST_F(EngineTest, GivesFewerWhereExclusionsLeaveFewer) {
  Request request = this->request(IdRows(Integers{{20, 50, 20}}));
  const IdRows exclude(Integers{{10, 20, 10, 777}});
  const Ids exclude_ids = exclude.ids();
  request.exclude = &exclude_ids;
  request.exclude_seen = true;
  EXPECT_EQ(answer(request), best({2, 5, 2}, {1, 2, 5}, 6));
  EXPECT_EQ(work_.ranking(0).count, 3);
  EXPECT_EQ(work_.k, 6);
}

TEST_F(EngineTest, StepsThroughStatesAsThroughTheWholeHistory) {
  std::vector<float> states(32), new_states(32);
  Request request = this->request(IdRows(Integers{{20}, {40}}));
  request.new_states = new_states.data();
  answer(request);
  states = new_states;
  request = this->request(IdRows(Integers{{50, 60}, {}}));
  request.states = states.data();
  request.new_states = new_states.data();
  request.k = 2;
  EXPECT_EQ(answer(request, 0), best({2, 5, 6}, {}, 2));
  EXPECT_EQ(answer(request, 1), best({4}, {}, 2));
  EXPECT_EQ(std::vector<float>(new_states.begin(), new_states.begin() + 16), state_of({2, 5, 6}));
  EXPECT_EQ(std::vector<float>(new_states.begin() + 16, new_states.end()), state_of({4}));
}

TEST_F(EngineTest, RanksThePopularItemsForUsersOfWhomNothingIsKnown) {
  Request request = this->request(IdRows(Integers{{}, {20}, {777}}));
  request.k = 4;
  EXPECT_EQ(answer(request, 0), (Items{2, 5, 1, 3}));
  EXPECT_EQ(answer(request, 2), (Items{2, 5, 1, 3}));
  EXPECT_TRUE(work_.ranking(0).popular);
  EXPECT_FALSE(work_.ranking(1).popular);
  EXPECT_EQ(work_.ranking(2).unknown, 1);
  const Ranking ranking = work_.ranking(0);
  EXPECT_EQ(std::vector<float>(ranking.scores, ranking.scores + 4), (std::vector<float>{9, 9, 5, 5}));
  const IdRows exclude(Integers{{20, 10}, {}, {}});
  const Ids exclude_ids = exclude.ids();
  request.exclude = &exclude_ids;
  EXPECT_EQ(answer(request, 0), (Items{5, 3, 4, 6}));
  const IdRows only(Integers{{60, 10, 40, 50, 20}});
  const Ids only_ids = only.ids();
  request.only.ids = &only_ids;
  request.only.n_entries = 1;
  EXPECT_EQ(answer(request, 0), (Items{5, 4, 6}));
  EXPECT_EQ(answer(request, 2), (Items{2, 5, 1, 4}));
  request.k = 2;
  EXPECT_EQ(answer(request, 0), (Items{5, 4}));
}

TEST_F(EngineTest, KnowsAUserByTheStateAlone) {
  const std::vector<float> known = state_of({3}), unknown = bundle_->initial_state();
  Request request = this->request(IdRows(Integers{{}}));
  request.states = known.data();
  EXPECT_EQ(answer(request), best({3}, {}, 6));
  request.states = unknown.data();
  answer(request);
  EXPECT_TRUE(work_.ranking(0).popular);
}

TEST_F(EngineTest, RanksTheItemsAllowed) {
  Request request = this->request(IdRows(Integers{{20}, {20}, {20}, {20}}));
  const IdRows only(Integers{{60, 10, 60, 999}, {}, {10, 50, 30}, {}});
  const Ids only_ids = only.ids();
  const AllowList list(IdRows(Integers{{40, 20}}).ids());
  const AllowList* lists[] = {nullptr, nullptr, nullptr, &list};
  const uint8_t all[] = {0, 1, 0, 0};
  request.only = {true, &only_ids, all, lists, 4};
  EXPECT_EQ(answer(request, 0), best({2}, {2, 3, 4, 5}, 6));
  EXPECT_EQ(answer(request, 1), best({2}, {}, 6));
  EXPECT_EQ(answer(request, 2), best({2}, {2, 4, 6}, 6));
  EXPECT_EQ(answer(request, 3), best({2}, {1, 3, 5, 6}, 6));
  const AllowList* one[] = {&list};
  request.only = {false, nullptr, nullptr, one, 1};
  request.exclude_seen = true;
  for (int64_t b = 0; b < 4; ++b) EXPECT_EQ(answer(request, b), (Items{4}));
}

TEST_F(EngineTest, AnEmptyAllowListAllowsNothing) {
  Request request = this->request(IdRows(Integers{{20}}));
  const AllowList empty(IdRows(Integers{{}}).ids());
  const AllowList* lists[] = {&empty};
  request.only = {false, nullptr, nullptr, lists, 1};
  EXPECT_EQ(answer(request), Items{});
  const IdRows unknown(Integers{{777}});
  const Ids unknown_ids = unknown.ids();
  request.only = {false, &unknown_ids, nullptr, nullptr, 1};
  EXPECT_EQ(answer(request), Items{});
}

TEST_F(EngineTest, AnswersNoRows) {
  Request request = this->request(IdRows(Integers{}));
  engine_->answer(request, &work_);
  EXPECT_EQ(work_.n_rows, 0);
  int done = 0;
  engine_->submit(request, &work_, [&done](const std::exception_ptr& error) { done += error == nullptr ? 1 : 100; });
  EXPECT_EQ(done, 1);
}

TEST_F(EngineTest, RefusesWhatCannotBeAnswered) {
  Request request = this->request(IdRows(Integers{{20}, {30}}));
  request.k = -2;
  EXPECT_EQ(error_of(request), "k is -2: give a whole number from 1 to 6");
  request.k = 7;
  EXPECT_EQ(error_of(request), "k is 7, but the catalogue has 6 items: ask for at most those");
  request.k = 0;
  const IdRows one_row(Integers{{10}});
  const Ids one = one_row.ids();
  request.exclude = &one;
  EXPECT_EQ(error_of(request), "exclude has 1 rows for 2: give one list per row, or None");
  request.exclude = nullptr;
  request.only = {true, &one, nullptr, nullptr, 1};
  EXPECT_EQ(error_of(request), "only has 1 rows for 2: give one list of item ids for all, or one per row");
  request.only = {};
  std::vector<float> states(32, 1.0F);
  request.states = states.data();
  states[19] = kNan;
  EXPECT_EQ(error_of(request), "states[1][3] is nan, not a finite float32: use None for a new user");
  states[0] = -kInf;
  EXPECT_EQ(error_of(request), "states[0][0] is -inf, not a finite float32: use None for a new user");
}

TEST_F(EngineTest, NamesTheRowOfIdsThatCannotBeIds) {
  const IdRows strangers(Strings{{"20", "x"}, {"A-1", "B"}});
  const Ids ids = strangers.ids();
  Request request = this->request(strangers);
  EXPECT_EQ(error_of(request).rfind("histories[1]: item id 'A-1' is of type str", 0), 0) << error_of(request);
  request.items_name = "new_items";
  EXPECT_EQ(error_of(request).rfind("new_items[1]: item id 'A-1'", 0), 0) << error_of(request);
  request = this->request(IdRows(Integers{{20}, {30}}));
  request.exclude = &ids;
  EXPECT_EQ(error_of(request).rfind("exclude[1]: item id 'A-1'", 0), 0) << error_of(request);
  request.exclude = nullptr;
  request.only = {true, &ids, nullptr, nullptr, 2};
  EXPECT_EQ(error_of(request).rfind("only[1]: item id 'A-1'", 0), 0) << error_of(request);
  const IdRows one(Strings{{"A-1"}});
  const Ids one_ids = one.ids();
  request.only = {false, &one_ids, nullptr, nullptr, 1};
  EXPECT_EQ(error_of(request).rfind("only: item id 'A-1'", 0), 0) << error_of(request);
}

TEST_F(EngineTest, RefusesScoresThatAreNoNumbers) {
  const auto run = [bundle = bundle_](const ArrayRun& run) {
    tests::run_toy(*bundle, run);
    run.top_scores[run.k] = kNan;
  };
  engine_ = std::make_unique<Engine>(
      bundle_, std::make_shared<CallbackBackend>(bundle_, Callback{run, {256, 65536, 65536}, 3, ""}, 1), std::nullopt);
  Request request = this->request(IdRows(Integers{{20}, {20}}));
  request.k = 2;
  const std::vector<float> states(2 * static_cast<size_t>(bundle_->state_size()), 0.25F);
  request.states = states.data();
  EXPECT_EQ(error_of(request),
            "row 1: the scores are not numbers; was its state made by model " + bundle_->manifest().fingerprint + "?");
}

TEST_F(EngineTest, UsesItsMemoryAgainForRequestsOfAllSizes) {
  const Integers rows[] = {{{20, 30}, {}, {40}}, {{50}}, {{}, {}}, {{10, 20, 30, 40}, {60}}};
  for (int i = 0; i < 12; ++i) {
    Request request = this->request(IdRows(rows[i % 4]));
    request.k = 1 + i % 6;
    request.exclude_seen = i % 2 == 0;
    engine_->answer(request, &work_);
    Work fresh;
    engine_->answer(request, &fresh);
    for (int64_t b = 0; b < fresh.n_rows; ++b) {
      const Ranking again = work_.ranking(b), once = fresh.ranking(b);
      EXPECT_EQ(Items(again.items, again.items + again.count), Items(once.items, once.items + once.count));
      EXPECT_EQ(again.popular, once.popular);
    }
  }
}

}  // namespace
}  // namespace recblr
