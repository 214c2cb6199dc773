#include "backends/callback.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "tiny_bundle.h"
#include "toy_model.h"

namespace recblr {
namespace {

using tests::TinyBundle;

class CallbackBackendTest : public testing::Test {
 protected:
  CallbackBackendTest() {
    tests::write_bundle(TinyBundle{}, folder_.path());
    bundle_ = Bundle::open(folder_.path());
  }

  CallbackBackend backend(std::function<void(const ArrayRun&)> run, int64_t max_k = 3) {
    return CallbackBackend(bundle_, {std::move(run), {256, 65536, 65536}, max_k, "a toy"}, 1);
  }

  // A row of `items` whose results are in `out`.
  struct Out {
    std::vector<float> state, scores;
    std::vector<int32_t> items;
  };
  Row row(const std::vector<int32_t>& items, const std::vector<float>& state, int64_t k, Out* out) {
    out->state.assign(state.size(), 7);
    out->items.assign(static_cast<size_t>(k), 7);
    out->scores.assign(static_cast<size_t>(k), 7);
    Row row;
    row.items = items.data();
    row.n_items = static_cast<int64_t>(items.size());
    row.state_in = state.data();
    row.state_out = out->state.data();
    row.k = k;
    row.top_items = out->items.data();
    row.top_scores = out->scores.data();
    return row;
  }

  tests::TemporaryFolder folder_;
  std::shared_ptr<const Bundle> bundle_;
  const std::vector<float> first_ = std::vector<float>(16, 0.25F), second_ = std::vector<float>(16, -1.0F);
  const std::vector<int32_t> items_ = {5, 1, 5}, none_, excluded_ = {2, 4};
};

TEST_F(CallbackBackendTest, GivesTheRowsAsArrays) {
  int runs = 0;
  const CallbackBackend backend = this->backend([&](const ArrayRun& run) {
    ++runs;
    EXPECT_EQ(run.n_rows, 2);
    EXPECT_EQ(run.k, 3);
    ASSERT_EQ(run.n_items, 3);
    EXPECT_EQ(std::vector<int32_t>(run.items, run.items + 3), items_);
    EXPECT_EQ(std::vector<int32_t>(run.offsets, run.offsets + 3), (std::vector<int32_t>{0, 3, 3}));
    ASSERT_EQ(run.n_exclude, 2);
    EXPECT_EQ(std::vector<int32_t>(run.exclude, run.exclude + 4), (std::vector<int32_t>{1, 2, 1, 4}));
    EXPECT_EQ(std::vector<float>(run.state_in, run.state_in + 16), first_);
    EXPECT_EQ(std::vector<float>(run.state_in + 16, run.state_in + 32), second_);
    tests::run_toy(*bundle_, run);
  });
  Out first, second;
  Row rows[] = {row(items_, first_, 2, &first), row(none_, second_, 3, &second)};
  rows[1].exclude = {excluded_.data(), 2};
  backend.run(rows, 2);
  EXPECT_EQ(runs, 1);
  std::vector<float> state = first_;
  tests::feed_toy(items_.data(), 3, &state);
  EXPECT_EQ(first.state, state);
  std::vector<int32_t> best = tests::toy_ranking(*bundle_, state.data(), {});
  EXPECT_EQ(first.items, std::vector<int32_t>(best.begin(), best.begin() + 2));
  best = tests::toy_ranking(*bundle_, second_.data(), excluded_);
  EXPECT_EQ(second.items, std::vector<int32_t>(best.begin(), best.begin() + 3));
  EXPECT_EQ(second.scores[0], tests::toy_scores(*bundle_, second_.data())[static_cast<size_t>(best[0])]);
}

TEST_F(CallbackBackendTest, RanksWhatTheCallbackCannotByTheCatalogue) {
  std::vector<int64_t> asked;
  const CallbackBackend backend = this->backend([&](const ArrayRun& run) {
    asked.push_back(run.k);
    EXPECT_EQ(run.n_exclude, 0);
    tests::run_toy(*bundle_, run);
  });
  const std::vector<int32_t> allowed = {1, 2, 5};
  Out all, some, both;
  Row rows[] = {row(items_, first_, 6, &all), row(items_, first_, 2, &some)};
  rows[0].exclude = {excluded_.data(), 2};
  rows[1].only = {allowed.data(), 3};
  rows[1].has_only = true;
  backend.run(rows, 2);
  const std::vector<int32_t> best = tests::toy_ranking(*bundle_, all.state.data(), excluded_);
  EXPECT_EQ(std::vector<int32_t>(all.items.begin(), all.items.begin() + 4), best);
  EXPECT_EQ(all.items[4], 0);
  EXPECT_EQ(all.scores[5], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(some.state, all.state);
  const std::vector<int32_t> best_allowed = tests::toy_ranking(*bundle_, all.state.data(), {3, 4, 6});
  EXPECT_EQ(some.items, std::vector<int32_t>(best_allowed.begin(), best_allowed.begin() + 2));
  EXPECT_EQ(asked, (std::vector<int64_t>{0}));
}

TEST_F(CallbackBackendTest, WritesNothingWhereTheCallbackFails) {
  const CallbackBackend backend = this->backend([&](const ArrayRun& run) {
    tests::run_toy(*bundle_, run);
    throw std::runtime_error("no more memory on the device");
  });
  Out out;
  const Row given = row(items_, first_, 3, &out);
  try {
    backend.run(&given, 1);
    FAIL() << "it did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kBackend);
    EXPECT_STREQ(error.what(), "what runs the model failed: no more memory on the device");
  }
  EXPECT_EQ(out.state, std::vector<float>(16, 7));
  EXPECT_EQ(out.items, std::vector<int32_t>(3, 7));
}

TEST_F(CallbackBackendTest, RefusesItemsThatTheCatalogueDoesNotHave) {
  for (const int32_t item : {-1, 0, 7, std::numeric_limits<int32_t>::max()}) {
    const CallbackBackend backend = this->backend([&](const ArrayRun& run) {
      tests::run_toy(*bundle_, run);
      run.top_items[1] = item;
    });
    Out out;
    const Row given = row(items_, first_, 2, &out);
    EXPECT_THROW(backend.run(&given, 1), Error) << item;
    EXPECT_EQ(out.items, std::vector<int32_t>(2, 7));
  }
}

TEST_F(CallbackBackendTest, RefusesWhatIsNoRanking) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  struct {
    std::function<void(const ArrayRun&)> spoil;
    const char* message;
  } const cases[] = {
      {[](const ArrayRun& run) { std::swap(run.top_scores[0], run.top_scores[2]); }, "the backend ranked a score of "},
      {[](const ArrayRun& run) { run.top_items[0] = 7; }, "the backend gave item 7 of 6: its graph is another"},
      {[](const ArrayRun& run) { run.top_items[1] = run.top_items[0] = 1; }, "the backend ranked item 1 twice: its"},
      {[](const ArrayRun& run) { run.top_items[1] = 2; }, "the backend ranked item 2, which was excluded: its graph"},
      {[](const ArrayRun& run) { run.top_scores[1] = kNaN; }, "the backend gave a score of nan: its graph is another"},
      {[](const ArrayRun& run) { run.state_out[3] = kNaN; }, "the backend gave a state that holds nan: its graph is"},
  };
  for (const auto& each : cases) {
    const CallbackBackend backend = this->backend([&](const ArrayRun& run) {
      tests::run_toy(*bundle_, run);
      each.spoil(run);
    });
    Out out;
    Row given = row(items_, bundle_->initial_state(), 3, &out);
    given.exclude = {excluded_.data(), 2};
    try {
      backend.run(&given, 1);
      ADD_FAILURE() << "no error where there should be: " << each.message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kBackend);
      EXPECT_EQ(std::string(error.what()).rfind(each.message, 0), 0U) << error.what();
    }
    EXPECT_EQ(out.items, std::vector<int32_t>(3, 7));
  }
}

// There, the state may be to blame.
TEST_F(CallbackBackendTest, LeavesNumbersFromAStateThatWasGivenToTheEngine) {
  const CallbackBackend backend = this->backend([&](const ArrayRun& run) {
    tests::run_toy(*bundle_, run);
    run.top_scores[1] = std::numeric_limits<float>::quiet_NaN();
  });
  Out out;
  const Row given = row(items_, first_, 3, &out);
  backend.run(&given, 1);
  EXPECT_TRUE(out.scores[1] != out.scores[1]);
}

}  // namespace
}  // namespace recblr
