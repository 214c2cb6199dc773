// A small bundle and engines of it through recblr.h, for tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "id_rows.h"
#include "recblr/recblr.h"
#include "tiny_bundle.h"

namespace recblr::tests {

#define EXPECT_OK(call) EXPECT_EQ((call), RECBLR_OK) << recblr_last_error()
#define ASSERT_OK(call) ASSERT_EQ((call), RECBLR_OK) << recblr_last_error()

// Expects a status, and that the error's line begins with `words`.
inline void expect_error(recblr_status status, recblr_status expected, const std::string& words) {
  EXPECT_EQ(status, expected) << recblr_last_error();
  EXPECT_EQ(std::string(recblr_last_error()).rfind(words, 0), 0U) << recblr_last_error();
}

class ApiTest : public testing::Test {
 protected:
  void SetUp() override { open(TinyBundle{}); }
  void TearDown() override {
    recblr_result_free(result_);
    recblr_engine_free(engine_);
    recblr_bundle_free(bundle_);
  }

  // Opens a bundle, with an engine and a result.
  void open(const TinyBundle& tiny, const recblr_engine_options* options = nullptr) {
    TearDown();
    result_ = nullptr;
    engine_ = nullptr;
    bundle_ = nullptr;
    const TemporaryFolder folder;
    write_bundle(tiny, folder.path());
    ASSERT_OK(recblr_bundle_open(folder.path().c_str(), &bundle_));
    ASSERT_OK(recblr_engine_create(bundle_, options, &engine_));
    ASSERT_OK(recblr_result_create(&result_));
  }

  static recblr_request request_for(const IdRows& rows) {
    recblr_request request{};
    request.struct_size = sizeof request;
    request.items = rows.c();
    return request;
  }
  recblr_ranking row(int64_t row) {
    recblr_ranking ranking{};
    EXPECT_OK(recblr_result_row(result_, row, &ranking));
    return ranking;
  }
  std::vector<int64_t> ids(int64_t row) {
    const recblr_ranking ranking = this->row(row);
    return std::vector<int64_t>(ranking.integers, ranking.integers + ranking.count);
  }

  recblr_bundle* bundle_ = nullptr;
  recblr_engine* engine_ = nullptr;
  recblr_result* result_ = nullptr;
};

}  // namespace recblr::tests
