// /v1 over a small model, without connections.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "server/fake_exchange.h"
#include "server/http/router.h"
#include "server/model/models.h"
#include "server/v1/routes.h"
#include "server/work/pool.h"
#include "tiny_bundle.h"

namespace recblr::server {

class V1Test : public ::testing::Test {
 protected:
  using Json = nlohmann::json;

  void SetUp() override { serve({}); }
  void TearDown() override {
    pool_.reset();
    models_.reset();
  }

  // Serves a bundle; with `store`, histories are kept in memory.
  void serve(const tests::TinyBundle& tiny, const V1Options& options = {}, bool store = true,
             std::optional<EngineOptions> engine = std::nullopt) {
    TearDown();
    tests::write_bundle(tiny, folder_.path());
    ModelOptions model;
    model.path = folder_.path();
    if (engine) {
      model.engine = *engine;
    } else {
      model.engine.batching = Batching{};
    }
    if (store) model.store = "";
    models_ = std::make_unique<Models>(model);
    models_->load();
    add_routes(options);
  }
  void add_routes(const V1Options& options, int threads = 1, int64_t max_queued = 64) {
    pool_ = std::make_unique<Pool>(threads, max_queued);
    router_ = Router();
    add_v1_routes(&router_, models_.get(), pool_.get(), pool_.get(), options);
    add_page_routes(&router_, models_.get(), options);
  }

  // The pool gets nothing done, and takes nothing more, until the promise is kept.
  std::promise<void> jam_pool(const V1Options& options = {}) {
    add_routes(options, 1, 0);
    std::promise<void> promise;
    const auto task = [kept = promise.get_future().share()] { kept.wait(); };
    while (!pool_->post(task)) std::this_thread::yield();  // until its thread has begun
    return promise;
  }

  // Hands a request to its handler; `target` is a path with its query.
  std::shared_ptr<FakeExchange> begin(Method method, const std::string& target, std::string body = "") {
    Request request;
    request.method = method;
    request.path = target.substr(0, target.find('?'));
    if (request.path.size() < target.size()) request.query = target.substr(request.path.size() + 1);
    request.body = std::move(body);
    std::string allowed;
    const Route* route = router_.find(method, request.path, &request.parameters, &allowed);
    EXPECT_NE(route, nullptr) << target;
    const auto exchange = std::make_shared<FakeExchange>(std::move(request));
    if (route != nullptr) route->handler(exchange);
    return exchange;
  }
  Reply ask(Method method, const std::string& target, std::string body = "") {
    return begin(method, target, std::move(body))->wait();
  }
  Json answer(Method method, const std::string& target, std::string body = "") {
    const Reply reply = ask(method, target, std::move(body));
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.content_type, "application/json");
    return Json::parse(reply.body);
  }
  std::string refusal(int status, Method method, const std::string& target, std::string body = "") {
    const Reply reply = ask(method, target, std::move(body));
    EXPECT_EQ(reply.status, status) << reply.body;
    const Json content = Json::parse(reply.body);
    EXPECT_EQ(content.size(), 1U);
    std::string message = content.at("error");
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message;
  }

  const tests::TemporaryFolder folder_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<Pool> pool_;
  Router router_;
};

}  // namespace recblr::server
