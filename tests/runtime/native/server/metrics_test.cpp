#include "server/observe/metrics.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "server/observe/request_counts.h"
#include "tiny_bundle.h"

namespace recblr::server {
namespace {

using tests::TemporaryFolder;
using tests::TinyBundle;

RequestRecord record(std::string_view route, int status, std::string_view reason, double seconds) {
  RequestRecord record;
  record.method = "POST";
  record.route = route;
  record.status = status;
  record.reason = reason;
  record.seconds = seconds;
  record.rows = 2;
  record.items = 50;
  record.request_bytes = 100;
  record.response_bytes = 1000;
  return record;
}

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_bundle(TinyBundle(), folder_.path());
    options_.path = folder_.path();
    options_.engine.batching = Batching{};
    options_.store = "";
  }

  // Each line's value, with its labels as they stand; fails where a line is none of Prometheus' format.
  static std::map<std::string, double> values(const Metrics& metrics) {
    static const std::regex kLine(R"re(([a-z_]+(\{([a-z]+="[^"\\]*",?)+\})?) (\S+))re");
    std::map<std::string, double> values;
    std::istringstream text(metrics.text());
    for (std::string line; std::getline(text, line);) {
      if (line.rfind("# ", 0) == 0) continue;
      std::smatch found;
      EXPECT_TRUE(std::regex_match(line, found, kLine)) << line;
      EXPECT_TRUE(values.emplace(found[1], std::stod(found[4])).second) << "twice: " << line;
    }
    return values;
  }

  static void ask(const ServedModel& model) {
    IntegerIds histories;
    histories.add_row({10, 20});
    Result result;
    model.engine.recommend(Request(histories), &result);
  }

  TemporaryFolder folder_;
  ModelOptions options_;
};

TEST(RequestCounts, JoinsWhatThreadsCounted) {
  RequestCounts counts;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 40; ++thread) {
    threads.emplace_back([&counts] {
      for (int j = 0; j < 100; ++j) counts.add(record("/v1/recommend", j % 2 == 0 ? 200 : 503, "", j < 50 ? 1e-4 : 99));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::map<RouteName, RouteCounts> all = counts.all();
  ASSERT_EQ(all.size(), 1U);
  const RouteCounts& sum = all.begin()->second;
  EXPECT_EQ(all.begin()->first.protocol, "http");
  EXPECT_EQ(sum.ended, (std::map<std::pair<int, std::string>, int64_t>{{{200, ""}, 2000}, {{503, ""}, 2000}}));
  EXPECT_EQ(sum.seconds.front(), 2000);  // bounds are inclusive
  EXPECT_EQ(sum.seconds.back(), 2000);
  EXPECT_EQ(sum.rows, 8000);
}

TEST(RequestCounts, TellsRoutesAndReasonsApart) {
  RequestCounts counts;
  const std::string one = "/one", same = "/one";  // at another place
  counts.add(record(one, 400, "invalid", 1));
  counts.add(record(same, 400, "too_large", 1));
  counts.add(record("/other", 200, "", 1));
  const auto all = counts.all();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all.begin()->second.ended.size(), 2U);
}

TEST_F(MetricsTest, BeforeAModelIsLoaded) {
  const Models models(options_);
  const Metrics metrics(models);
  const auto now = values(metrics);
  EXPECT_EQ(now.at("recblr_ready"), 0);
  EXPECT_GT(now.at("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(now.at("process_open_fds"), 2);
  EXPECT_GE(now.at("process_threads"), 1);
  EXPECT_GT(now.at("process_start_time_seconds"), 1.7e9);
  EXPECT_EQ(now.count("recblr_queue_rows"), 0U);
}

TEST_F(MetricsTest, OfRequestsAndWhatElseIsToBeTold) {
  const Models models(options_);
  Metrics metrics(models);
  double connections = 3;
  metrics.add_gauge("recblr_http_connections", "Open.", [&connections] { return connections; });
  metrics.add(record("/v1/recommend", 200, "", 0.0002));
  metrics.add(record("/v1/recommend", 200, "", 0.002));
  metrics.add(record("/v1/recommend", 400, "invalid", 0.00001));
  const auto now = values(metrics);
  const std::string route = R"(protocol="http",method="POST",route="/v1/recommend")";
  EXPECT_EQ(now.at("recblr_requests_total{" + route + R"(,status="200",reason=""})"), 2);
  EXPECT_EQ(now.at("recblr_requests_total{" + route + R"(,status="400",reason="invalid"})"), 1);
  EXPECT_EQ(now.at("recblr_request_seconds_bucket{" + route + R"(,le="0.0001"})"), 1);
  EXPECT_EQ(now.at("recblr_request_seconds_bucket{" + route + R"(,le="0.00025"})"), 2);
  EXPECT_EQ(now.at("recblr_request_seconds_count{" + route + "}"), 3);
  EXPECT_EQ(now.at("recblr_request_rows_total{" + route + "}"), 6);
  EXPECT_EQ(now.at("recblr_http_connections"), 3);
}

TEST_F(MetricsTest, CountsOfEnginesGoOnFromModelToModelAndBeginAfterTheWarmUp) {
  Models models(options_);
  Metrics metrics(models);
  models.on_event([&metrics](const ModelEvent& event) { metrics.add(event); });
  models.load();
  const std::string answered = R"(recblr_engine_requests_total{outcome="answered"})";
  EXPECT_EQ(values(metrics).at(answered), 0);
  EXPECT_EQ(values(metrics).at("recblr_run_seconds_count"), 0);
  ask(*models.current());
  ASSERT_TRUE(models.reload());
  const double swapped = values(metrics).at(answered);  // and what users' swap asks
  ask(*models.current());
  ask(*models.current());
  EXPECT_EQ(values(metrics).at(answered), swapped + 2);
  ASSERT_TRUE(models.rollback());
  ask(*models.current());
  const auto now = values(metrics);
  EXPECT_GE(now.at(answered), swapped + 3);
  EXPECT_GE(now.at("recblr_run_seconds_count"), now.at(answered));
  EXPECT_EQ(now.at("recblr_queue_seconds_count"), now.at(answered));
  EXPECT_EQ(now.at(R"(recblr_reloads_total{kind="reload",outcome="done"})"), 1);
  EXPECT_EQ(now.at(R"(recblr_reloads_total{kind="rollback",outcome="done"})"), 1);
  EXPECT_EQ(now.at("recblr_model_info{fingerprint=\"" + std::string(models.current()->bundle.fingerprint()) +
                   R"(",name="recblr",version="1"})"),
            1);
  EXPECT_EQ(now.at("recblr_ready"), 1);
  EXPECT_FALSE(models.rollback());
  EXPECT_EQ(values(metrics).at(R"(recblr_reloads_total{kind="rollback",outcome="failed"})"), 1);
}

TEST_F(MetricsTest, MethodsOfOneRouteAreSeriesOfTheirOwn) {
  const Models models(options_);
  Metrics metrics(models);
  RequestRecord forget = record("/v1/users/{id}", 200, "", 0.001);
  forget.method = "DELETE";
  metrics.add(forget);
  metrics.add(record("/v1/users/{id}", 200, "", 0.001));
  const auto now = values(metrics);  // which fails where a series is there twice
  EXPECT_EQ(now.at(R"(recblr_request_rows_total{protocol="http",method="DELETE",route="/v1/users/{id}"})"), 2);
}

TEST_F(MetricsTest, WhatAModelCountedBeforeItWasFreedIsNotLost) {
  Models models(options_);
  Metrics metrics(models);
  models.on_event([&metrics](const ModelEvent& event) { metrics.add(event); });
  models.on_free([&metrics](const ServedModel& model) { metrics.freed(model); });
  models.load();
  ASSERT_TRUE(models.reload());
  for (int j = 0; j < 1000; ++j) ask(*models.current());
  ASSERT_TRUE(models.rollback());
  const auto answered = [&metrics] {
    return values(metrics).at(R"(recblr_engine_requests_total{outcome="answered"})");
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (answered() < 1000 && std::chrono::steady_clock::now() < deadline) {  // it is freed by a thread of its own
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_GE(answered(), 1000);
  models.on_free(nullptr);
}

TEST_F(MetricsTest, OfUsers) {
  Models models(options_);
  const Metrics metrics(models);
  models.load();
  models.users()->add_events("ann", {10, 20});
  Result result;
  models.users()->recommend("ann", &result);
  models.users()->recommend("ann", &result);
  const auto now = values(metrics);
  EXPECT_EQ(now.at("recblr_cached_users"), 1);
  EXPECT_EQ(now.at("recblr_state_rebuilds_total"), 1);
  EXPECT_EQ(now.at("recblr_state_hits_total"), 1);
  EXPECT_GT(now.at("recblr_cached_bytes"), 0);
}

}  // namespace
}  // namespace recblr::server
