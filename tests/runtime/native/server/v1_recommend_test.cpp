// POST /v1/recommend: answers, refusals, limits, clients that leave.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/v1_fixture.h"

namespace recblr::server {
namespace {

constexpr const char* kUrl = "/v1/recommend";

// Ranks the items by their indices, while its gate is open.
class GatedBackend : public Backend {
 public:
  Expected<void> run(const recblr_backend_run& run) override {
    std::unique_lock<std::mutex> lock(mutex_);
    ++runs_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
    return rank(run);
  }
  static Expected<void> rank(const recblr_backend_run& run) {
    for (int64_t j = 0; j < run.n_rows * run.k; ++j) {
      run.top_items[j] = static_cast<int32_t>(j % run.k + 1);
      run.top_scores[j] = static_cast<float>(-(j % run.k));
    }
    return {};
  }
  std::string description() const override { return "gated"; }
  int64_t max_k() const override { return 6; }

  // Returns how many runs there were.
  int set_open(bool is_open) {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = is_open;
    changed_.notify_all();
    return runs_;
  }
  void wait_for_runs(int runs) {
    std::unique_lock<std::mutex> lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return runs_ >= runs; }));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = true;
  int runs_ = 0;
};

class FailingBackend : public Backend {
 public:
  explicit FailingBackend(Failure failure) : failure_(std::move(failure)) {}
  Expected<void> run(const recblr_backend_run& run) override {
    if (has_warmed_up) return failure_;
    return GatedBackend::rank(run);
  }
  std::string description() const override { return "failing"; }
  int64_t max_k() const override { return 6; }

  std::atomic<bool> has_warmed_up{false};

 private:
  const Failure failure_;
};

class RecommendTest : public V1Test {
 protected:
  Json recommend(std::string body) { return answer(Method::kPost, kUrl, std::move(body)); }
  std::string refused(std::string body) { return refusal(400, Method::kPost, kUrl, std::move(body)); }
};

TEST_F(RecommendTest, AnswersWhatTheEngineDoes) {
  IntegerIds histories, exclude;
  histories.add_row({10, 20, 99});
  histories.add_row({});
  exclude.add_row({});
  exclude.add_row({30});
  recblr::Request request(histories);
  request.k = 3;
  request.exclude = exclude.view();
  Result expected;
  models_->current()->engine.recommend(request, &expected);

  const auto exchange =
      begin(Method::kPost, kUrl, R"({"histories": [[10, 20, 99], []], "k": 3, "exclude": [[], [30]]})");
  const Reply reply = exchange->wait();
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(exchange->record().rows, 2);
  EXPECT_EQ(exchange->record().items, 4);
  const Json content = Json::parse(reply.body);
  EXPECT_EQ(content.at("model"), models_->current()->bundle.fingerprint());
  ASSERT_EQ(content.at("rankings").size(), 2U);
  for (size_t b = 0; b < 2; ++b) {
    const Json& given = content["rankings"][b];
    const Ranking ranking = expected.row(b);
    ASSERT_EQ(given.at("items").size(), ranking.size());
    for (size_t j = 0; j < ranking.size(); ++j) {
      EXPECT_EQ(given["items"][j], ranking.integer(j));
      EXPECT_EQ(given.at("scores")[j].get<float>(), ranking.score(j));
      EXPECT_TRUE(given["scores"][j].is_number_float());
    }
    EXPECT_EQ(given.at("popular"), ranking.popular());
    EXPECT_EQ(given.at("unknown"), ranking.unknown());
  }
  EXPECT_EQ(content["rankings"][0]["unknown"], 1);
  EXPECT_EQ(content["rankings"][1]["popular"], true);
}

TEST_F(RecommendTest, FieldsThatMayBeLeftOut) {
  EXPECT_EQ(recommend(R"({"histories": []})").at("rankings").size(), 0U);
  const Json whole = recommend(R"({"histories": [[10]]})");
  EXPECT_EQ(whole.at("rankings")[0].at("items").size(), 5U);
  const Json seen = recommend(R"({"histories": [[10]], "exclude_seen": false, "exclude": null, "only": null})");
  EXPECT_EQ(seen.at("rankings")[0].at("items").size(), 6U);
  EXPECT_EQ(recommend(R"({"histories": [[10], []], "k": 6, "only": [20, 30, 10]})")["rankings"][0]["items"].size(), 2U);
}

TEST_F(RecommendTest, StringIds) {
  tests::TinyBundle tiny;
  tiny.has_string_ids = true;
  serve(tiny);
  const Json ranking = recommend(R"({"histories": [["item-1", "ü", 7]], "k": 2})").at("rankings")[0];
  EXPECT_EQ(ranking.at("unknown"), 2);
  EXPECT_EQ(ranking.at("items")[0].get<std::string>().substr(0, 5), "item-");
}

TEST_F(RecommendTest, AnIntegerAndItsDigitsAreOneId) {
  EXPECT_EQ(recommend(R"({"histories": [["20", "10", 999]], "exclude": [["30"]], "only": ["40", 50]})"),
            recommend(R"({"histories": [[20, 10, 999]], "exclude": [[30]], "only": [40, 50]})"));
}

TEST_F(RecommendTest, RefusalsOfTheEngineArePassedOn) {
  EXPECT_EQ(refused(R"({"histories": [[10]], "k": 0})"), "k is 0: give a whole number from 1 to 6");
  EXPECT_EQ(refused(R"({"histories": [[10]], "k": -1})"), "k is -1: give a whole number from 1 to 6");
  EXPECT_EQ(refused(R"({"histories": [[10]], "k": 7})"),
            "k is 7, but the catalogue has 6 items: ask for at most those");
  EXPECT_EQ(refused(R"({"histories": [[10]], "exclude": [[1], [2]]})").substr(0, 24), "exclude has 2 rows for 1");
  EXPECT_EQ(refused(R"({"histories": [[999, "A-1"]]})").substr(0, 44), "histories[0]: item id 'A-1' is of type str, ");
  EXPECT_EQ(refused(R"({"histories": [[true]]})"), "histories[0][0] is true: item ids are integers or strings");
}

TEST_F(RecommendTest, LimitsAreNamed) {
  V1Options options;
  options.limits.max_users = 2;
  options.limits.max_ids = 5;
  options.limits.max_history = 3;
  options.limits.max_results = 8;
  add_routes(options);
  EXPECT_EQ(recommend(R"({"histories": [[10, 20], [30]], "exclude": [[40], [50]], "k": 4})")["rankings"].size(), 2U);
  EXPECT_NE(refused(R"({"histories": [[], [], []], "k": 1})").find("3 users"), std::string::npos);
  EXPECT_NE(refused(R"({"histories": [[1, 2], [3]], "exclude": [[4], [5, 6]], "k": 1})").find("6 item ids"),
            std::string::npos);
  EXPECT_NE(refused(R"({"histories": [[], [1, 2, 3, 4]], "k": 1})").find("4 items"), std::string::npos);
  EXPECT_NE(refused(R"({"histories": [[], []], "k": 5})").find("10 results"), std::string::npos);
}

TEST_F(RecommendTest, LargeBodiesAreReadInThePool) {
  std::string history = "10";
  for (int j = 0; j < 30'000; ++j) history += ", 20";
  const std::string body = "{\"histories\": [[" + history + "]], \"k\": 2}";
  const Json small = recommend(R"({"histories": [[10, 20]], "k": 2})");
  EXPECT_EQ(recommend(body).at("rankings")[0].at("items").size(), small.at("rankings")[0].at("items").size());
  EXPECT_EQ(refused("{\"histories\": [[" + history + ", true]], \"k\": 2}"),
            "histories[0][30001] is true: item ids are integers or strings");
  std::promise<void> jam = jam_pool();
  EXPECT_EQ(refusal(503, Method::kPost, kUrl, body), "too many requests wait: try again later");
  jam.set_value();
}

TEST_F(RecommendTest, LargeAnswersAreWrittenWithOrWithoutThePool) {
  std::string body = "{\"histories\": [[]";
  for (int j = 1; j < 1024; ++j) body += ",[]";
  body += "]}";
  const Json expected = recommend(body);
  ASSERT_EQ(expected.at("rankings").size(), 1024U);
  EXPECT_EQ(expected["rankings"][1023].at("items").size(), 6U);
  std::promise<void> jam = jam_pool();
  EXPECT_EQ(recommend(body), expected);
  jam.set_value();
}

TEST_F(RecommendTest, NoModelYet) {
  models_ = std::make_unique<Models>(ModelOptions{});
  add_routes({});
  const Reply reply = ask(Method::kPost, kUrl, R"({"histories": []})");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(Json::parse(reply.body).at("error"), "the model is not loaded yet: try again later");
}

TEST_F(RecommendTest, ClientsThatLeaveAreNotComputedFor) {
  const auto backend = std::make_shared<GatedBackend>();
  EngineOptions engine;
  engine.batching = Batching{};
  engine.batching->workers = 1;
  engine.backend = backend;
  serve({}, {}, true, engine);
  const int before = backend->set_open(false);
  const std::string body = R"({"histories": [[10]], "k": 2, "exclude_seen": false})";
  const auto asks = [&] { return begin(Method::kPost, kUrl, body); };
  // The first ones may run in the threads that ask, until a worker is busy.
  std::future<std::shared_ptr<FakeExchange>> first = std::async(std::launch::async, asks);
  backend->wait_for_runs(before + 1);
  const auto queued = begin(Method::kPost, kUrl, body), left = begin(Method::kPost, kUrl, body);
  EXPECT_FALSE(left->has_reply());
  left->leave();
  EXPECT_EQ(left->wait().status, 499);
  EXPECT_EQ(left->record().reason, "client_gone");
  EXPECT_FALSE(queued->has_reply());
  backend->set_open(true);
  EXPECT_EQ(first.get()->wait().status, 200);
  EXPECT_EQ(queued->wait().status, 200);
  EXPECT_EQ(backend->set_open(true), before + 2);
}

TEST_F(RecommendTest, ClientsMayLeaveAtAnyMoment) {
  int answered = 0;
  for (int j = 0; j < 300; ++j) {
    const auto exchange = std::make_shared<FakeExchange>(R"({"histories": [[10, 20, 30]], "k": 2})");
    std::string allowed;
    std::vector<std::string> parameters;
    const Route* route = router_.find(Method::kPost, kUrl, &parameters, &allowed);
    std::thread leaving([&] {
      for (volatile int wait = 0; wait < 50 * j; wait = wait + 1) {
      }
      exchange->leave();
    });
    route->handler(exchange);
    const int status = exchange->wait().status;
    leaving.join();
    EXPECT_TRUE(status == 200 || status == 499) << status;
    answered += status == 200 ? 1 : 0;
  }
  EXPECT_GT(answered, 0);
}

TEST_F(RecommendTest, RequestsEndAtTheirDeadline) {
  const auto backend = std::make_shared<GatedBackend>();
  EngineOptions engine;
  engine.batching = Batching{};
  engine.batching->workers = 1;
  engine.backend = backend;
  engine.batching->timeout = 0.05;
  serve({}, {}, true, engine);
  const int before = backend->set_open(false);
  const std::string body = R"({"histories": [[10]], "k": 2, "exclude_seen": false})";
  std::future<std::shared_ptr<FakeExchange>> first =
      std::async(std::launch::async, [&] { return begin(Method::kPost, kUrl, body); });
  backend->wait_for_runs(before + 1);
  const auto late = begin(Method::kPost, kUrl, body);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  backend->set_open(true);
  EXPECT_EQ(late->wait().status, 504);
  first.get()->wait();
}

TEST_F(RecommendTest, FailuresHaveTheirStatus) {
  const std::vector<std::pair<Failure, int>> cases = {{{Status::kInvalidArgument, "told"}, 400},
                                                      {{Status::kOverloaded, "told"}, 503},
                                                      {{Status::kBackendFailed, "secret"}, 500},
                                                      {{Status::kOutOfMemory, "secret"}, 500}};
  for (const auto& [failure, status] : cases) {
    const auto backend = std::make_shared<FailingBackend>(failure);
    EngineOptions engine;
    engine.batching = Batching{};
    engine.backend = backend;
    serve({}, {}, true, engine);
    backend->has_warmed_up = true;
    const auto exchange = begin(Method::kPost, kUrl, R"({"histories": [[10]], "k": 1})");
    const Reply reply = exchange->wait();
    EXPECT_EQ(reply.status, status);
    const bool is_told = reply.body.find("told") != std::string::npos;
    EXPECT_EQ(is_told, status != 500) << reply.body;
    EXPECT_EQ(reply.body.find("secret"), std::string::npos);
    EXPECT_EQ(exchange->record().detail.find("secret") != std::string::npos, status == 500);
    EXPECT_FALSE(exchange->record().reason.empty());
  }
  models_->close(1);
  EXPECT_NE(refusal(503, Method::kPost, kUrl, R"({"histories": [[10]]})").find("closed"), std::string::npos);
}

}  // namespace
}  // namespace recblr::server
