#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "client.h"

namespace recblr::tests {
namespace {

using RequestTest = ApiTest;

TEST_F(RequestTest, RanksInIntegerIds) {
  const IdRows rows(Integers{{20, 50}, {}});
  recblr_request request = request_for(rows);
  request.exclude_seen = 1;
  request.k = 4;
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  ASSERT_EQ(recblr_result_n_rows(result_), 2);
  EXPECT_STREQ(recblr_result_fingerprint(result_), recblr_bundle_fingerprint(bundle_));
  const recblr_ranking first = row(0);
  EXPECT_EQ(first.count, 4);
  EXPECT_EQ(first.strings, nullptr);
  EXPECT_EQ(first.popular, 0);
  for (int64_t j = 0; j < 4; ++j) {
    EXPECT_EQ(first.integers[j], 10 * first.indices[j]);
    EXPECT_NE(first.indices[j], 2);
    EXPECT_NE(first.indices[j], 5);
    EXPECT_LE(first.scores[j], first.scores[std::max<int64_t>(0, j - 1)]);
  }
  EXPECT_EQ(ids(1), (std::vector<int64_t>{60, 50, 40, 30}));
  EXPECT_EQ(row(1).popular, 1);
}

TEST_F(RequestTest, RanksInStringIdsThatOutliveEngineAndBundle) {
  TinyBundle tiny;
  tiny.has_string_ids = true;
  open(tiny);
  const IdRows rows(Strings{{"item-2", "no such item"}, {}});
  const recblr_request request = request_for(rows);
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  recblr_engine_free(engine_);
  recblr_bundle_free(bundle_);
  engine_ = nullptr;
  bundle_ = nullptr;
  for (const int64_t b : {0, 1}) {
    const recblr_ranking ranking = row(b);
    ASSERT_EQ(ranking.count, 6);
    EXPECT_EQ(ranking.integers, nullptr);
    EXPECT_EQ(ranking.unknown, b == 0 ? 1 : 0);
    for (int64_t j = 0; j < 6; ++j) {
      EXPECT_EQ(ranking.strings[j], "item-" + std::to_string(ranking.indices[j]));
      EXPECT_EQ(ranking.lengths[j], 6);
    }
  }
}

TEST_F(RequestTest, AResultThatIsClearedHoldsNoAnswerAndMayBeUsedAgain) {
  const IdRows rows(Integers{{20}});
  const recblr_request request = request_for(rows);
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  EXPECT_OK(recblr_result_clear(result_));
  EXPECT_OK(recblr_result_clear(result_));
  recblr_ranking ranking;
  expect_error(recblr_result_row(result_, 0, &ranking), RECBLR_INVALID_ARGUMENT, "result holds no answer");
  EXPECT_STREQ(recblr_result_fingerprint(result_), "");
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  EXPECT_OK(recblr_result_row(result_, 0, &ranking));
  expect_error(recblr_result_clear(nullptr), RECBLR_INVALID_ARGUMENT, "result is NULL");
}

TEST_F(RequestTest, AnEngineKeepsItsBundle) {
  recblr_bundle_free(bundle_);
  bundle_ = nullptr;
  const IdRows rows(Integers{{20}});
  const recblr_request request = request_for(rows);
  EXPECT_OK(recblr_recommend(engine_, &request, result_));
}

TEST_F(RequestTest, StepsThroughStates) {
  const auto size = static_cast<size_t>(recblr_bundle_state_size(bundle_));
  std::vector<float> states(size), stepped(size), whole(size);
  const IdRows first(Integers{{20, 40}}), then(Integers{{60}}), both(Integers{{20, 40, 60}});
  recblr_request request = request_for(first);
  request.new_states = states.data();
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  request = request_for(then);
  request.states = states.data();
  request.new_states = stepped.data();
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  const std::vector<int64_t> by_steps = ids(0);
  request = request_for(both);
  request.new_states = whole.data();
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  EXPECT_EQ(ids(0), by_steps);
  EXPECT_EQ(stepped, whole);
}

TEST_F(RequestTest, RanksTheItemsAllowed) {
  const IdRows rows(Integers{{20}, {20}, {20}}), only(Integers{{10, 30}, {}, {}}), listed(Integers{{60, 50, 777}});
  const recblr_ids only_ids = only.c(), list_ids = listed.c();
  recblr_allow_list* list;
  ASSERT_OK(recblr_allow_list_create(&list_ids, &list));
  EXPECT_EQ(recblr_allow_list_size(list), 3);
  const recblr_allow_list* lists[] = {nullptr, nullptr, list};
  const uint8_t all[] = {0, 1, 0};
  recblr_request request = request_for(rows);
  request.n_only = 3;
  request.only_per_row = 1;
  request.only_ids = &only_ids;
  request.only_all = all;
  request.only_lists = lists;
  EXPECT_OK(recblr_recommend(engine_, &request, result_));
  recblr_allow_list_free(list);
  std::vector<int64_t> first = ids(0), third = ids(2);
  std::sort(first.begin(), first.end());
  std::sort(third.begin(), third.end());
  EXPECT_EQ(first, (std::vector<int64_t>{10, 30}));
  EXPECT_EQ(row(1).count, 6);
  EXPECT_EQ(third, (std::vector<int64_t>{50, 60}));
}

TEST_F(RequestTest, RefusesWhatCannotBeAnsweredAndAnswersTheNext) {
  const IdRows rows(Integers{{20}, {30}}), one_row(Integers{{10}});
  const recblr_ids one = one_row.c();
  const auto refused = [&](const auto& change, const std::string& words) {
    recblr_request request = request_for(rows);
    change(&request);
    expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT, words);
    EXPECT_EQ(recblr_result_n_rows(result_), 0);
    EXPECT_STREQ(recblr_result_fingerprint(result_), "");
    const recblr_request good = request_for(rows);
    EXPECT_OK(recblr_recommend(engine_, &good, result_));
    EXPECT_EQ(recblr_result_n_rows(result_), 2);
  };
  refused([](recblr_request* r) { r->k = 7; }, "k is 7, but the catalogue has 6 items: ask for at most those");
  refused([](recblr_request* r) { r->k = std::numeric_limits<int64_t>::min(); }, "k is -9223372036854775808: give");
  refused([&](recblr_request* r) { r->exclude = &one; }, "exclude has 1 rows for 2: give one list per row, or None");
  refused([&](recblr_request* r) { r->n_only = 2; }, "n_only is 2: give 0, 1 for all rows");
  refused([&](recblr_request* r) { r->n_only = -1; }, "n_only is -1: give 0, 1 for all rows");
  refused([&](recblr_request* r) { r->n_only = 1; }, "entry 0 of only has neither a list nor only_all");
  refused(
      [&](recblr_request* r) {
        r->n_only = 1;
        r->only_per_row = 1;
        r->only_ids = &one;
      },
      "only has 1 rows for 2: give one list of item ids for all, or one per row");
  refused(
      [&](recblr_request* r) {
        r->n_only = 2;
        r->only_per_row = 1;
        r->only_ids = &one;
      },
      "only_ids has 1 rows, but n_only is 2");
  std::vector<float> states(32, 1.0F);
  states[17] = std::numeric_limits<float>::infinity();
  refused([&](recblr_request* r) { r->states = states.data(); }, "states[1][1] is inf, not a finite float32");
  states[17] = 1;
  refused(
      [&](recblr_request* r) {
        r->states = states.data();
        r->new_states = states.data() + 5;
      },
      "new_states overlaps with states");
}

TEST_F(RequestTest, WordsStrangersAsTheirCallerDoes) {
  const IdRows rows(Integers{{20}, {}});
  const recblr_strangers strangers[] = {{0, 1, 1, "None", "NoneType", nullptr}, {1, 2, 0, "1.0", "float", "give ints"}};
  recblr_request request = request_for(rows);
  request.items.strangers = strangers;
  request.items.n_strangers = 1;
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  EXPECT_EQ(row(0).unknown, 1);
  request.items.n_strangers = 2;
  expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT,
               "histories[1]: item id 1.0 is of type float");
  request.are_new_items = 1;
  expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT,
               "new_items[1]: item id 1.0 is of type float");
}

TEST_F(RequestTest, EncodesIds) {
  const IdRows rows(Strings{{"20", "7", "60"}, {}, {"30"}});
  const recblr_ids ids = rows.c();
  int32_t indices[4] = {};
  int64_t offsets[4], unknown[3];
  ASSERT_OK(recblr_bundle_encode(bundle_, &ids, "rows", indices, offsets, unknown));
  EXPECT_EQ(std::vector<int32_t>(indices, indices + 3), (std::vector<int32_t>{2, 6, 3}));
  EXPECT_EQ(std::vector<int64_t>(offsets, offsets + 4), (std::vector<int64_t>{0, 2, 2, 3}));
  EXPECT_EQ(std::vector<int64_t>(unknown, unknown + 3), (std::vector<int64_t>{1, 0, 0}));
  const IdRows strangers(Strings{{"A-1"}});
  const recblr_ids strange = strangers.c();
  expect_error(recblr_bundle_encode(bundle_, &strange, "rows", indices, offsets, unknown), RECBLR_INVALID_ARGUMENT,
               "rows[0]: item id 'A-1' is of type str");
}

TEST_F(RequestTest, RunsOnABackendOfTheCallers) {
  struct Context {
    int runs = 0, releases = 0;
    recblr_status status = RECBLR_OK;
  } context;
  recblr_backend backend{};
  backend.struct_size = sizeof backend;
  backend.context = &context;
  backend.max_k = 2;
  backend.description = "a constant";
  backend.run = [](void* given, const recblr_backend_run* run) -> recblr_status {
    auto* context = static_cast<Context*>(given);
    ++context->runs;
    EXPECT_EQ(run->struct_size, sizeof(recblr_backend_run));
    if (context->status == RECBLR_BACKEND_FAILED) return recblr_set_error(context->status, "no\ndevice");
    std::fill(run->state_out, run->state_out + run->n_rows * 16, 1.0F);
    for (int64_t j = 0; j < run->n_rows * run->k; ++j) {
      run->top_items[j] = static_cast<int32_t>(run->k - j % run->k);
      run->top_scores[j] = static_cast<float>(-(j % run->k));
    }
    return context->status;
  };
  backend.release = [](void* given) { ++static_cast<Context*>(given)->releases; };
  recblr_engine_options options{};
  options.struct_size = sizeof options;
  options.backend = &backend;
  open(TinyBundle{}, &options);
  EXPECT_NE(std::string(recblr_engine_description(engine_)).find("a constant"), std::string::npos);
  const IdRows rows(Integers{{20}});
  recblr_request request = request_for(rows);
  request.k = 2;
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  EXPECT_EQ(ids(0), (std::vector<int64_t>{20, 10}));
  EXPECT_EQ(context.runs, 1);
  context.status = RECBLR_BACKEND_FAILED;
  expect_error(recblr_recommend(engine_, &request, result_), RECBLR_BACKEND_FAILED, "no device");
  context.status = 99;
  expect_error(recblr_recommend(engine_, &request, result_), RECBLR_BACKEND_FAILED,
               "what runs the model gave status 99 and no message");
  EXPECT_EQ(context.releases, 0);
  recblr_engine_free(engine_);
  engine_ = nullptr;
  EXPECT_EQ(context.releases, 1);
  options.threads = -1;
  expect_error(recblr_engine_create(bundle_, &options, &engine_), RECBLR_BAD_CONFIG,
               "threads is -1: give a whole number of at least 1");
  EXPECT_EQ(engine_, nullptr);
  EXPECT_EQ(context.releases, 1);
}

}  // namespace
}  // namespace recblr::tests
