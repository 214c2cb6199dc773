#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "client.h"

namespace recblr::tests {
namespace {

using ArgumentsTest = ApiTest;

// Expects that a call with NULL gives a status and words.
#define EXPECT_NULL_REFUSED(call) expect_error((call), RECBLR_INVALID_ARGUMENT, "")

TEST_F(ArgumentsTest, NullIsRefusedEverywhere) {
  const IdRows rows(Integers{{20}});
  const recblr_ids ids = rows.c();
  const recblr_request request = request_for(rows);
  recblr_ranking ranking;
  recblr_metrics metrics{};
  recblr_bundle* bundle;
  recblr_engine* engine;
  recblr_allow_list* list;
  int32_t index;
  int64_t offsets[2], unknown;
  const recblr_done done = [](void*, recblr_status) {};
  EXPECT_NULL_REFUSED(recblr_bundle_open(nullptr, &bundle));
  EXPECT_EQ(bundle, nullptr);
  EXPECT_NULL_REFUSED(recblr_bundle_open("bundle", nullptr));
  EXPECT_NULL_REFUSED(recblr_bundle_item(nullptr, 1, nullptr, nullptr, nullptr, nullptr));
  EXPECT_NULL_REFUSED(recblr_bundle_encode(nullptr, &ids, "ids", &index, offsets, &unknown));
  EXPECT_NULL_REFUSED(recblr_bundle_encode(bundle_, nullptr, "ids", &index, offsets, &unknown));
  EXPECT_NULL_REFUSED(recblr_bundle_encode(bundle_, &ids, "ids", nullptr, offsets, &unknown));
  EXPECT_NULL_REFUSED(recblr_bundle_encode(bundle_, &ids, "ids", &index, nullptr, &unknown));
  EXPECT_NULL_REFUSED(recblr_bundle_encode(bundle_, &ids, "ids", &index, offsets, nullptr));
  EXPECT_OK(recblr_bundle_encode(bundle_, &ids, nullptr, &index, offsets, &unknown));
  EXPECT_NULL_REFUSED(recblr_engine_create(nullptr, nullptr, &engine));
  EXPECT_EQ(engine, nullptr);
  EXPECT_NULL_REFUSED(recblr_engine_create(bundle_, nullptr, nullptr));
  EXPECT_NULL_REFUSED(recblr_engine_close(nullptr, 1, -1));
  EXPECT_NULL_REFUSED(recblr_engine_metrics(nullptr, &metrics));
  EXPECT_NULL_REFUSED(recblr_engine_metrics(engine_, nullptr));
  EXPECT_NULL_REFUSED(recblr_allow_list_create(nullptr, &list));
  EXPECT_EQ(list, nullptr);
  EXPECT_NULL_REFUSED(recblr_allow_list_create(&ids, nullptr));
  EXPECT_NULL_REFUSED(recblr_result_create(nullptr));
  EXPECT_NULL_REFUSED(recblr_recommend(nullptr, &request, result_));
  EXPECT_NULL_REFUSED(recblr_recommend(engine_, nullptr, result_));
  EXPECT_NULL_REFUSED(recblr_recommend(engine_, &request, nullptr));
  EXPECT_NULL_REFUSED(recblr_submit(nullptr, &request, result_, done, nullptr, nullptr));
  EXPECT_NULL_REFUSED(recblr_submit(engine_, nullptr, result_, done, nullptr, nullptr));
  EXPECT_NULL_REFUSED(recblr_submit(engine_, &request, nullptr, done, nullptr, nullptr));
  EXPECT_NULL_REFUSED(recblr_submit(engine_, &request, result_, nullptr, nullptr, nullptr));
  EXPECT_NULL_REFUSED(recblr_result_row(nullptr, 0, &ranking));
  EXPECT_NULL_REFUSED(recblr_result_row(result_, 0, nullptr));
}

TEST_F(ArgumentsTest, NullGivesNothingWhereThereIsNoStatus) {
  const auto said = [] {
    const std::string words = recblr_last_error();
    recblr_set_error(RECBLR_OK, "");
    return words;
  };
  EXPECT_STREQ(recblr_bundle_path(nullptr), "");
  EXPECT_EQ(said(), "bundle is NULL");
  EXPECT_STREQ(recblr_bundle_manifest(nullptr), "");
  EXPECT_EQ(said(), "bundle is NULL");
  EXPECT_STREQ(recblr_bundle_fingerprint(nullptr), "");
  EXPECT_EQ(said(), "bundle is NULL");
  EXPECT_EQ(recblr_bundle_n_items(nullptr), 0);
  EXPECT_EQ(said(), "bundle is NULL");
  EXPECT_EQ(recblr_bundle_state_size(nullptr), 0);
  EXPECT_EQ(recblr_bundle_dim(nullptr), 0);
  EXPECT_EQ(recblr_bundle_id_type(nullptr), -1);
  EXPECT_EQ(recblr_bundle_initial_state(nullptr), nullptr);
  said();
  EXPECT_STREQ(recblr_engine_description(nullptr), "");
  EXPECT_EQ(said(), "engine is NULL");
  EXPECT_EQ(recblr_allow_list_size(nullptr), 0);
  EXPECT_EQ(said(), "list is NULL");
  EXPECT_EQ(recblr_result_n_rows(nullptr), 0);
  EXPECT_EQ(said(), "result is NULL");
  EXPECT_EQ(recblr_cancel(nullptr, 1), 0);
  EXPECT_EQ(said(), "engine is NULL");
  recblr_bundle_free(nullptr);
  recblr_engine_free(nullptr);
  recblr_allow_list_free(nullptr);
  recblr_result_free(nullptr);
  EXPECT_EQ(recblr_set_error(RECBLR_OK, nullptr), RECBLR_OK);
  EXPECT_EQ(said(), "");
}

TEST_F(ArgumentsTest, IdsAreCheckedBeforeTheyAreUsed) {
  const int64_t good[] = {0, 2}, falling[] = {0, 2, 1}, negative[] = {0, -1}, late[] = {1, 2}, integers[] = {20, 30};
  const int64_t text_good[] = {0, 2, 4}, text_falling[] = {0, 3, 2}, text_negative[] = {-1, 2, 4};
  constexpr int32_t kInteger = RECBLR_INTEGER_IDS, kString = RECBLR_STRING_IDS;
  const auto refused = [&](const recblr_ids& ids, const std::string& words) {
    recblr_allow_list* list;
    recblr_request request{};
    request.struct_size = sizeof request;
    request.items = ids;
    expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT, "items" + words);
    request.items = {kInteger, 1, good, integers, nullptr, nullptr, nullptr, 0};
    request.exclude = &ids;
    expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT, "exclude" + words);
    request.exclude = nullptr;
    request.only_ids = &ids;
    request.n_only = 1;
    expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT, "only_ids" + words);
    expect_error(recblr_allow_list_create(&ids, &list), RECBLR_INVALID_ARGUMENT, "ids" + words);
    int32_t indices[4];
    int64_t offsets[4], unknown[4];
    expect_error(recblr_bundle_encode(bundle_, &ids, "", indices, offsets, unknown), RECBLR_INVALID_ARGUMENT,
                 "ids" + words);
  };
  refused({2, 1, good, integers, nullptr, nullptr, nullptr, 0}, ".type is 2: give RECBLR_INTEGER_IDS or");
  refused({kInteger, -1, good, integers, nullptr, nullptr, nullptr, 0}, ".n_rows is -1: give 0 or more");
  refused({kInteger, 1, nullptr, integers, nullptr, nullptr, nullptr, 0}, ".offsets is NULL");
  refused({kInteger, 2, falling, integers, nullptr, nullptr, nullptr, 0}, ".offsets[2] is 1 after 2: give offsets");
  refused({kInteger, 1, negative, integers, nullptr, nullptr, nullptr, 0}, ".offsets[1] is -1 after 0: give offsets");
  refused({kInteger, 1, late, integers, nullptr, nullptr, nullptr, 0}, ".offsets[0] is 1: give 0");
  refused({kInteger, 1, good, nullptr, nullptr, nullptr, nullptr, 0}, ".integers is NULL");
  refused({kString, 1, good, nullptr, "abcd", nullptr, nullptr, 0}, ".text_offsets is NULL");
  refused({kString, 1, good, nullptr, nullptr, text_good, nullptr, 0}, ".text is NULL");
  refused({kString, 1, good, nullptr, "abcd", text_falling, nullptr, 0}, ".text_offsets[2] is 2 after 3: give");
  refused({kString, 1, good, nullptr, "abcd", text_negative, nullptr, 0}, ".text_offsets[0] is -1 after 0: give");
  refused({kInteger, 1, good, integers, nullptr, nullptr, nullptr, 1}, ".strangers is NULL");
  const recblr_strangers fine{0, 1, 0, "None", "NoneType", nullptr};
  refused({kInteger, 1, good, integers, nullptr, nullptr, &fine, 2}, ".n_strangers is 2 for 1 rows: give one");
  refused({kInteger, 1, good, integers, nullptr, nullptr, &fine, -1}, ".n_strangers is -1 for 1 rows: give one");
  const auto stranger = [&](const recblr_strangers& wrong, const std::string& words) {
    refused({kInteger, 1, good, integers, nullptr, nullptr, &wrong, 1}, ".strangers[0]" + words);
  };
  stranger({1, 1, 0, "None", "NoneType", nullptr}, ".row is 1 of 1: give rows in ascending order");
  stranger({-1, 1, 0, "None", "NoneType", nullptr}, ".row is -1 of 1: give rows in ascending order");
  stranger({0, 0, 0, "None", "NoneType", nullptr}, " has count 0 and before 0 in a row of 2 ids");
  stranger({0, 1, 3, "None", "NoneType", nullptr}, " has count 1 and before 3 in a row of 2 ids");
  stranger({0, 1, 0, nullptr, "NoneType", nullptr}, ": shown or type is NULL");
  stranger({0, 1, 0, "None", nullptr, nullptr}, ": shown or type is NULL");
}

TEST_F(ArgumentsTest, NoIdsNeedNoArrays) {
  const int64_t offsets[] = {0, 0};
  recblr_request request{};
  request.struct_size = sizeof request;
  for (const int32_t type : {RECBLR_INTEGER_IDS, RECBLR_STRING_IDS}) {
    request.items = {type, 0, nullptr, nullptr, nullptr, nullptr, nullptr, 0};
    EXPECT_OK(recblr_recommend(engine_, &request, result_));
    EXPECT_EQ(recblr_result_n_rows(result_), 0);
    request.items = {type, 1, offsets, nullptr, nullptr, nullptr, nullptr, 0};
    EXPECT_OK(recblr_recommend(engine_, &request, result_));
    EXPECT_EQ(row(0).popular, 1);
  }
}

TEST_F(ArgumentsTest, StructuresOfOlderAndNewerCallersAreRead) {
  const IdRows rows(Integers{{20}});
  recblr_request request = request_for(rows);
  request.k = 4;
  request.exclude_seen = 1;
  request.struct_size = offsetof(recblr_request, k);  // without k and all that follows
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  EXPECT_EQ(row(0).count, 6);
  struct {
    recblr_request request;
    int64_t later;
  } newer = {request_for(rows), 0};
  newer.request.struct_size = sizeof newer;
  newer.request.k = 2;
  ASSERT_OK(recblr_recommend(engine_, &newer.request, result_));
  EXPECT_EQ(row(0).count, 2);
  newer.later = 1;
  expect_error(recblr_recommend(engine_, &newer.request, result_), RECBLR_UNSUPPORTED,
               "request sets a field that version");
  for (const size_t size : {size_t{0}, size_t{8}, sizeof request + 1, size_t{4104}, ~size_t{0}}) {
    request.struct_size = size;
    expect_error(recblr_recommend(engine_, &request, result_), RECBLR_INVALID_ARGUMENT,
                 "request.struct_size is " + std::to_string(size));
  }
}

TEST_F(ArgumentsTest, OptionsOfOlderAndNewerCallersAreRead) {
  recblr_engine* engine;
  struct {
    recblr_engine_options options;
    int64_t later;
  } newer{};
  newer.options.struct_size = sizeof newer;
  ASSERT_OK(recblr_engine_create(bundle_, &newer.options, &engine));
  recblr_engine_free(engine);
  newer.later = 1;
  expect_error(recblr_engine_create(bundle_, &newer.options, &engine), RECBLR_UNSUPPORTED, "options sets a field");
  newer.options.struct_size = 0;
  expect_error(recblr_engine_create(bundle_, &newer.options, &engine), RECBLR_INVALID_ARGUMENT,
               "options.struct_size is 0");
  recblr_batching batching{};
  recblr_backend backend{};
  newer.options.struct_size = sizeof newer.options;
  newer.options.batching = &batching;
  expect_error(recblr_engine_create(bundle_, &newer.options, &engine), RECBLR_INVALID_ARGUMENT,
               "batching.struct_size is 0");
  newer.options.batching = nullptr;
  newer.options.backend = &backend;
  expect_error(recblr_engine_create(bundle_, &newer.options, &engine), RECBLR_INVALID_ARGUMENT,
               "backend.struct_size is 0");
  backend.struct_size = sizeof backend;
  expect_error(recblr_engine_create(bundle_, &newer.options, &engine), RECBLR_INVALID_ARGUMENT, "backend.run is NULL");
  backend.run = [](void*, const recblr_backend_run*) -> recblr_status { return RECBLR_OK; };
  backend.max_rows = -1;
  expect_error(recblr_engine_create(bundle_, &newer.options, &engine), RECBLR_BAD_CONFIG, "max_rows is -1: give");
  EXPECT_EQ(engine, nullptr);
}

TEST_F(ArgumentsTest, WhatABundleHolds) {
  EXPECT_EQ(recblr_bundle_n_items(bundle_), 6);
  EXPECT_EQ(recblr_bundle_state_size(bundle_), 16);
  EXPECT_EQ(recblr_bundle_dim(bundle_), 4);
  EXPECT_EQ(recblr_bundle_id_type(bundle_), RECBLR_INTEGER_IDS);
  EXPECT_EQ(recblr_bundle_initial_state(bundle_)[15], 0);
  EXPECT_EQ(recblr_bundle_fingerprint(bundle_), "sha256:" + std::string(64, '0'));
  EXPECT_EQ(recblr_bundle_manifest(bundle_)[0], '{');
  int64_t integer, length, count;
  const char* text;
  ASSERT_OK(recblr_bundle_item(bundle_, 6, &integer, &text, &length, &count));
  EXPECT_EQ(integer, 60);
  EXPECT_EQ(text, nullptr);
  EXPECT_EQ(count, 6);
  for (const int32_t index : {0, 7, -1}) {
    expect_error(recblr_bundle_item(bundle_, index, nullptr, nullptr, nullptr, nullptr), RECBLR_INVALID_ARGUMENT,
                 "index is " + std::to_string(index) + ": give one from 1 to 6");
  }
  TinyBundle tiny;
  tiny.has_string_ids = true;
  open(tiny);
  EXPECT_EQ(recblr_bundle_id_type(bundle_), RECBLR_STRING_IDS);
  ASSERT_OK(recblr_bundle_item(bundle_, 1, nullptr, &text, &length, nullptr));
  EXPECT_STREQ(text, "item-1");
  EXPECT_EQ(length, 6);
}

TEST_F(ArgumentsTest, AResultHoldsAnAnswerOrSaysSo) {
  recblr_ranking ranking;
  expect_error(recblr_result_row(result_, 0, &ranking), RECBLR_INVALID_ARGUMENT, "result holds no answer");
  const IdRows rows(Integers{{20}});
  const recblr_request request = request_for(rows);
  ASSERT_OK(recblr_recommend(engine_, &request, result_));
  for (const int64_t row : {int64_t{-1}, int64_t{1}, std::numeric_limits<int64_t>::max()}) {
    expect_error(recblr_result_row(result_, row, &ranking), RECBLR_INVALID_ARGUMENT,
                 "row is " + std::to_string(row) + " of 1");
  }
}

}  // namespace
}  // namespace recblr::tests
