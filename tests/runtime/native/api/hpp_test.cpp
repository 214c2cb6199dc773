#include <gtest/gtest.h>

#include <future>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "hpp_without_exceptions.h"
#include "recblr/recblr.hpp"
#include "tiny_bundle.h"

namespace recblr::tests {
namespace {

class HppTest : public ::testing::Test {
 protected:
  HppTest() { write_bundle(TinyBundle{}, folder_.path()); }

  static std::vector<int64_t> ids(const Ranking& ranking) {
    std::vector<int64_t> ids;
    for (size_t j = 0; j < ranking.size(); ++j) ids.push_back(ranking.integer(j));
    return ids;
  }
  static IntegerIds rows(std::initializer_list<std::initializer_list<int64_t>> rows) {
    IntegerIds ids;
    for (const auto& row : rows) ids.add_row(row);
    return ids;
  }

  TemporaryFolder folder_;
  Result result_;
};

TEST_F(HppTest, RanksAndSteps) {
  const Bundle bundle(folder_.path());
  EXPECT_EQ(bundle.n_items(), 6);
  EXPECT_EQ(bundle.path(), folder_.path());
  EXPECT_EQ(bundle.initial_state().size(), 16U);
  EXPECT_EQ(bundle.item(2).integer, 20);
  EXPECT_EQ(bundle.encode(rows({{60, 7}, {10}})).indices, (std::vector<int32_t>{6, 1}));
  const Engine engine(bundle);
  EXPECT_NE(engine.description(), "");
  std::vector<float> states(32), whole(32);
  const IntegerIds histories = rows({{20, 30}, {}}), news = rows({{50}, {10}}), all = rows({{20, 30, 50}, {10}});
  Request request(histories);
  request.new_states = states;
  engine.recommend(request, &result_);
  ASSERT_EQ(result_.n_rows(), 2U);
  EXPECT_EQ(result_.row(0).size(), 4U);
  EXPECT_TRUE(result_.row(1).popular());
  EXPECT_EQ(ids(result_.row(1)), (std::vector<int64_t>{60, 50, 40, 30, 20, 10}));
  const std::vector<float> before = states;
  Request step(news);
  step.states = before;
  step.new_states = states;
  engine.recommend(step, &result_);
  const std::vector<int64_t> stepped = ids(result_.row(1));
  Request again(all);
  again.new_states = whole;
  engine.recommend(again, &result_);
  EXPECT_EQ(ids(result_.row(1)), stepped);
  EXPECT_EQ(states, whole);
}

TEST_F(HppTest, EmptyStatesWithMemoryAreNone) {
  const Bundle bundle(folder_.path());
  const Engine engine(bundle);
  const IntegerIds histories = rows({{20, 30}});
  Request request(histories);
  engine.recommend(request, &result_);
  const float score = result_.row(0).score(0);
  std::vector<float> states(16, 7.0F), new_states(16, 7.0F);
  states.clear();
  new_states.clear();
  request.states = states;
  request.new_states = new_states;
  engine.recommend(request, &result_);
  EXPECT_EQ(result_.row(0).score(0), score);
  EXPECT_EQ(new_states.data()[0], 7.0F);
}

TEST_F(HppTest, RanksStringsAndAllowLists) {
  TinyBundle tiny;
  tiny.has_string_ids = true;
  const TemporaryFolder folder;
  write_bundle(tiny, folder.path());
  const Engine engine{Bundle(folder.path())};  // which keeps the bundle
  StringIds histories, allowed;
  histories.add_row({"item-1"});
  histories.add_row(std::vector<std::string>{"item-2", "item-3"});
  allowed.add_row({"item-4"});
  const AllowList list(allowed);
  EXPECT_EQ(list.size(), 1U);
  Request request(histories);
  request.only = {{false, &list}};
  engine.recommend(request, &result_);
  ASSERT_EQ(result_.row(1).size(), 1U);
  EXPECT_TRUE(result_.row(1).has_string_ids());
  EXPECT_EQ(result_.row(1).string(0), "item-4");
  request.only = {{true, nullptr}, {false, &list}};
  request.only_per_row = true;
  engine.recommend(request, &result_);
  EXPECT_EQ(result_.row(0).size(), 5U);
  EXPECT_EQ(result_.row(1).size(), 1U);
  request.only.clear();
  request.only_per_row = false;
  request.only_ids = allowed;
  engine.recommend(request, &result_);
  EXPECT_EQ(result_.row(0).string(0), "item-4");
  result_.clear();
  EXPECT_EQ(result_.n_rows(), 0U);
  EXPECT_EQ(result_.fingerprint(), "");
}

TEST_F(HppTest, ErrorsAreExceptionsOrValues) {
  EXPECT_THROW(Bundle(folder_.path() + "/none"), Error);
  EXPECT_EQ(Bundle::try_open(folder_.path() + "/none").error().status, Status::kBadBundle);
  const Bundle bundle(folder_.path());
  const Engine engine(bundle);
  EXPECT_EQ(bundle.try_item(7).error().message, "index is 7: give one from 1 to 6");
  const IntegerIds histories = rows({{20}});
  Request request(histories);
  request.k = 7;
  try {
    engine.recommend(request, &result_);
    FAIL() << "it did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kInvalidArgument);
    EXPECT_STREQ(error.what(), "k is 7, but the catalogue has 6 items: ask for at most those");
  }
  request.k = 0;
  std::vector<float> states(15);
  request.states = states;
  EXPECT_EQ(engine.try_recommend(request, &result_).error().message,
            "states has 15 numbers, this model's states need 16");
  EXPECT_EQ(engine.try_metrics().error().status, Status::kUnsupported);
  EXPECT_FALSE(result_.try_row(0));
  engine.close();
  EXPECT_EQ(engine.try_recommend(Request(histories), &result_).error().status, Status::kClosed);
}

TEST_F(HppTest, SubmitsAndCounts) {
  EngineOptions options;
  options.batching = Batching{};
  const Engine engine(Bundle(folder_.path()), options);
  const IntegerIds histories = rows({{20}, {}});
  std::promise<Status> promise;
  const uint64_t ticket = engine.submit(Request(histories), &result_, [&promise](const Expected<void>& done) {
    promise.set_value(done ? Status::kOk : done.error().status);
  });
  EXPECT_EQ(promise.get_future().get(), Status::kOk);
  EXPECT_EQ(result_.n_rows(), 2U);
  EXPECT_FALSE(engine.cancel(ticket));
  EXPECT_EQ(engine.metrics().answered, 1);
  Request request(histories);
  request.k = 100;
  bool is_called = false;
  EXPECT_FALSE(engine.try_submit(request, &result_, [&](const Expected<void>&) { is_called = true; }));
  EXPECT_FALSE(is_called);
}

class Failing : public Backend {
 public:
  Expected<void> run(const recblr_backend_run& run) override {
    if (run.n_items == 1) throw std::runtime_error("the device is lost");
    if (run.n_items == 2) return Failure{Status::kOutOfMemory, "no memory on the device"};
    throw 3;
  }
  std::string description() const override { return "one that fails"; }
};

TEST_F(HppTest, ABackendOfTheCallersMayThrow) {
  const auto backend = std::make_shared<Failing>();
  {
    EngineOptions options;
    options.backend = backend;
    const Engine engine(Bundle(folder_.path()), options);
    EXPECT_EQ(backend.use_count(), 3);
    const auto failure = [&](const IntegerIds& histories) {
      return engine.try_recommend(Request(histories), &result_).error();
    };
    EXPECT_EQ(failure(rows({{20}})).status, Status::kBackendFailed);
    EXPECT_EQ(failure(rows({{20}})).message, "the device is lost");
    EXPECT_EQ(failure(rows({{20, 30}})).status, Status::kOutOfMemory);
    EXPECT_EQ(failure(rows({{20, 30, 40}})).message, "the backend threw what is no std::exception");
  }
  EXPECT_EQ(backend.use_count(), 1);
}

TEST_F(HppTest, WorksWithoutExceptions) {
  const Engine engine{Bundle(folder_.path())};
  const IntegerIds histories = rows({{20}});
  Request request(histories);
  request.k = 3;
  engine.recommend(request, &result_);
  std::string expected;
  for (const int64_t id : ids(result_.row(0))) expected += std::to_string(id) + " ";
  EXPECT_EQ(best_without_exceptions(folder_.path(), 20, 3), expected);
  EXPECT_EQ(best_without_exceptions(folder_.path(), 20, 7),
            "k is 7, but the catalogue has 6 items: ask for at most those");
}

}  // namespace
}  // namespace recblr::tests
