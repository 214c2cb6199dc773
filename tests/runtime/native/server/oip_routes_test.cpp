#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "server/fake_exchange.h"
#include "server/gate.h"
#include "server/jam.h"
#include "server/oip/routes.h"
#include "tiny_bundle.h"

namespace recblr::server {
namespace {

namespace json = boost::json;

class OipRoutesTest : public testing::Test {
 protected:
  void serve(const EngineOptions& engine = batching(), bool has_string_ids = false) {
    tests::TinyBundle tiny;
    tiny.has_string_ids = has_string_ids;
    tests::write_bundle(tiny, folder_.path());
    ModelOptions options;
    options.path = folder_.path();
    options.engine = engine;
    models_ = std::make_unique<Models>(options);
    add_oip_routes(&router_, models_.get(), &pool_, &statistics_, options_);
  }
  void load() { models_->load(); }
  // Gives a request to the handler of its path.
  std::shared_ptr<FakeExchange> begin(Request request) const {
    std::string allowed;
    const Route* const route = router_.find(request.method, request.path, &request.parameters, &allowed);
    if (route == nullptr) throw std::runtime_error("no route is for " + request.path);
    const auto exchange = std::make_shared<FakeExchange>(std::move(request));
    route->handler(exchange);
    return exchange;
  }
  static EngineOptions batching() {
    EngineOptions options;
    options.batching = Batching{};
    return options;
  }

  Reply get(const std::string& path) {
    Request request;
    request.path = path;
    return begin(request)->wait();
  }
  Reply infer(const std::string& body) { return begin(infer_request(body))->wait(); }
  static Request infer_request(const std::string& body, const std::string& model = "recblr") {
    Request request;
    request.method = Method::kPost;
    request.path = "/v2/models/" + model + "/infer";
    request.body = body;
    return request;
  }
  // A request for one user with item 10.
  static std::string one_item(const std::string& more = "") {
    return R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[1],"data":[10]}])" + more + "}";
  }
  static std::string error_of(const Reply& reply) {
    return std::string(json::parse(reply.body).at("error").as_string().c_str());
  }
  // The data of an output.
  static json::array data(const Reply& reply, const char* name) {
    const json::value answer = json::parse(reply.body);
    for (const json::value& output : answer.at("outputs").as_array()) {
      if (output.at("name") == name) return output.at("data").as_array();
    }
    ADD_FAILURE() << name << " is not in " << reply.body;
    return {};
  }

  tests::TemporaryFolder folder_;
  Pool pool_{1, 10};
  OipStatistics statistics_;
  OipOptions options_;
  Router router_;
  std::unique_ptr<Models> models_;
};

TEST_F(OipRoutesTest, TellsWhatItServes) {
  serve();
  EXPECT_EQ(get("/v2/health/live").status, 200);
  EXPECT_EQ(get("/v2/health/ready").status, 503);
  EXPECT_EQ(get("/v2/models/recblr").status, 503);
  EXPECT_EQ(get("/v2/models/stats").status, 503);
  EXPECT_EQ(infer(one_item()).status, 503);
  load();
  EXPECT_EQ(get("/ready").body, R"({"ready":true})");
  EXPECT_EQ(get("/live").body, R"({"live":true})");
  EXPECT_EQ(json::parse(get("/v2").body).at("name"), "recblr");
  for (const char* path : {"/v2/models/recblr", "/v2/models/recblr/versions/1"}) {
    const json::value metadata = json::parse(get(path).body);
    EXPECT_EQ(metadata.at("versions").at(0), "1");
    EXPECT_EQ(metadata.at("inputs").at(0), json::parse(R"({"name":"item_ids","datatype":"INT64","shape":[-1]})"));
    EXPECT_EQ(metadata.at("outputs").at(5), json::parse(R"({"name":"state_out","datatype":"FP32","shape":[-1,16]})"));
  }
  EXPECT_EQ(get("/v2/models/recblr/ready").body, R"({"name":"recblr","ready":true})");
  const Reply other = get("/v2/models/other/ready");
  EXPECT_EQ(other.status, 404);
  EXPECT_EQ(error_of(other), "model 'other' is not served here: use 'recblr'");
  EXPECT_EQ(error_of(get("/v2/models/recblr/versions/2")),
            "version '2' of model 'recblr' is not served: use '1', or none");
  Request index;
  index.method = Method::kPost;
  index.path = "/v2/repository/index";
  EXPECT_EQ(begin(index)->wait().body, R"([{"name":"recblr","version":"1","state":"READY","reason":""}])");
  models_->set_draining();
  EXPECT_EQ(get("/v2/health/ready").status, 503);
  EXPECT_EQ(get("/v2/models/recblr/ready").status, 503);
  EXPECT_EQ(infer(one_item()).status, 200);
}

TEST_F(OipRoutesTest, AnswersInJson) {
  serve();
  load();
  const Reply reply = infer(one_item(R"(,"id":"a\"b","parameters":{"k":6})"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.content_type, "application/json");
  const json::value answer = json::parse(reply.body);
  EXPECT_EQ(answer.at("model_name"), "recblr");
  EXPECT_EQ(answer.at("model_version"), "1");
  EXPECT_EQ(answer.at("id"), "a\"b");
  EXPECT_EQ(answer.at("parameters").at("model"), models_->current()->bundle.fingerprint().data());
  EXPECT_EQ(data(reply, "items").size(), 5U);
  EXPECT_EQ(data(reply, "counts"), json::array{5});
  EXPECT_EQ(data(reply, "unknown"), json::array{0});
  EXPECT_EQ(data(reply, "popular"), json::array{false});
}

TEST_F(OipRoutesTest, AnswersStringsInJson) {
  serve(batching(), true);
  load();
  const Reply reply =
      infer(R"({"inputs":[{"name":"item_ids","datatype":"BYTES","shape":[0],"data":[]}],"parameters":{"k":2}})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(data(reply, "items"), (json::array{"item-6", "item-5"}));
  EXPECT_EQ(data(reply, "popular"), json::array{true});
}

TEST_F(OipRoutesTest, AnswersInBytes) {
  serve();
  load();
  const Reply in_json = infer(one_item());
  const Reply reply = infer(one_item(R"(,"outputs":[{"name":"scores","parameters":{"binary_data":true}},
    {"name":"counts"},{"name":"items","parameters":{"binary_data":true}}])"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.content_type, "application/octet-stream");
  ASSERT_EQ(reply.headers.size(), 1U);
  EXPECT_EQ(reply.headers[0].first, "Inference-Header-Content-Length");
  const size_t size = std::stoul(reply.headers[0].second);
  const json::value head = json::parse(reply.body.substr(0, size));
  EXPECT_EQ(head.at("outputs").at(0), json::parse(R"({"name":"scores","datatype":"FP32","shape":[1,5],
    "parameters":{"binary_data_size":20}})"));
  EXPECT_EQ(head.at("outputs").at(1).at("data").at(0), 5);
  ASSERT_EQ(reply.body.size(), size + 20 + 40);
  const json::array items = data(in_json, "items"), scores = data(in_json, "scores");
  for (size_t j = 0; j < 5; ++j) {
    float score;
    int64_t item;
    std::memcpy(&score, reply.body.data() + size + 4 * j, sizeof score);
    std::memcpy(&item, reply.body.data() + size + 20 + 8 * j, sizeof item);
    EXPECT_EQ(score, static_cast<float>(scores[j].as_double()));
    EXPECT_EQ(item, items[j].as_int64());
  }
  EXPECT_EQ(infer(one_item(R"(,"parameters":{"binary_data_output":true})")).content_type, "application/octet-stream");
}

TEST_F(OipRoutesTest, ErrorsAreInWords) {
  options_.limits.max_results = 4;
  serve();
  load();
  const Reply reply = infer("{");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(error_of(reply), "the body is no JSON (incomplete JSON): give an object with inputs");
  EXPECT_EQ(error_of(infer(one_item())), "1 users with k = 6 are 6 results, the limit is 4: ask for fewer at once");
  const std::string fingerprint(models_->current()->bundle.fingerprint());
  EXPECT_EQ(infer(one_item(R"(,"parameters":{"model":")" + fingerprint + R"(","k":2})")).status, 200);
  EXPECT_EQ(error_of(infer(one_item(R"(,"parameters":{"model":"sha256:1"})"))),
            "the model is " + fingerprint + ", not 'sha256:1': a state is of one model only; feed the whole history");
  EXPECT_EQ(error_of(infer(one_item(R"(,"parameters":{"k":7})"))),
            "k is 7, but the catalogue has 6 items: ask for at most those");
  EXPECT_EQ(begin(infer_request(one_item(), "other"))->wait().status, 404);
  const std::string state =
      R"({"name":"state_in","datatype":"FP32","shape":[1,16],"data":[1e39,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]})";
  EXPECT_EQ(error_of(infer(R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[1],"data":[10]},)" + state +
                           R"(],"parameters":{"k":1}})")),
            "states[0][0] is inf, not a finite float32: use None for a new user");
}

TEST_F(OipRoutesTest, LargeBodiesAndAnswersGoThroughThePool) {
  serve();
  load();
  std::string ids = "10", lengths = "1";
  for (int j = 1; j < 1000; ++j) ids += ",20", lengths += ",1";
  const std::string body = R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[1000],"data":[)" + ids +
                           R"(]},{"name":"lengths","datatype":"INT64","shape":[1000],"data":[)" + lengths + "]}]" +
                           std::string(70'000, ' ') + "}";
  const Reply reply = infer(body);
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(data(reply, "items").size(), 5000U);
}

TEST_F(OipRoutesTest, WhatThePoolRefusesIsCounted) {
  serve();
  load();
  const std::string large = one_item(std::string(70'000, ' '));
  const auto failures = [this] { return statistics_.of(*models_->current()).fail.count; };
  {
    const Jam jam(&pool_);
    const Reply refused = infer(large);
    EXPECT_EQ(refused.status, 503);
    EXPECT_EQ(error_of(refused), "too many requests wait: try again later");
    EXPECT_EQ(failures(), 1);
  }
  std::shared_ptr<FakeExchange> left;
  {
    const Jam jam(&pool_, false);
    left = begin(infer_request(large));
    left->leave();
  }
  EXPECT_EQ(left->wait().status, 499);
  EXPECT_EQ(failures(), 2);
  EXPECT_EQ(infer(large).status, 200);
}

TEST_F(OipRoutesTest, LargeAnswersNeedNoPool) {
  serve();
  load();
  std::string lengths = "0";
  for (int j = 1; j < 1000; ++j) lengths += ",0";
  const std::string body = R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[0],"data":[]},)"
                           R"({"name":"lengths","datatype":"INT64","shape":[1000],"data":[)" +
                           lengths + R"(]}],"outputs":[{"name":)";
  const Jam jam(&pool_);
  EXPECT_EQ(data(infer(body + R"("items"}]})"), "items").size(), 6000U);
  EXPECT_EQ(data(infer(body + R"("state_out"}],"parameters":{"k":1}})"), "state_out").size(), 16'000U);
}

TEST_F(OipRoutesTest, ModelsThatAreNotReadyAreLeftOutOfTheIndexOfReadyOnes) {
  serve();
  load();
  const auto index = [this](const std::string& body) {
    Request request;
    request.method = Method::kPost;
    request.path = "/v2/repository/index";
    request.body = body;
    return begin(request)->wait();
  };
  const std::string ready = R"([{"name":"recblr","version":"1","state":"READY","reason":""}])";
  for (const char* body : {"", "{}", R"({"ready":true})", R"({"ready":false,"other":1})"}) {
    EXPECT_EQ(index(body).body, ready) << body;
  }
  models_->set_draining();
  EXPECT_EQ(index(R"({"ready":true})").body, "[]");
  EXPECT_NE(index(R"({"ready":false})").body.find("UNAVAILABLE"), std::string::npos);
  EXPECT_EQ(error_of(index(R"({"ready":1})")),
            R"(ready is neither true nor false: give an object such as {"ready": true}, or none)");
  EXPECT_EQ(index("[").status, 400);
}

TEST_F(OipRoutesTest, ClientsThatLeaveAreNotComputedFor) {
  const auto gate = std::make_shared<Gate>();
  EngineOptions options;
  options.batching = Batching{};
  options.batching->workers = 1;
  options.backend = gate;
  serve(options);
  load();
  gate->close();
  std::shared_ptr<FakeExchange> first;
  std::thread running([&] { first = begin(infer_request(one_item())); });
  gate->wait_for_a_run();
  const auto second = begin(infer_request(one_item()));
  second->leave();
  EXPECT_EQ(second->wait().status, 499);
  EXPECT_EQ(second->record().reason, "client_gone");
  gate->open();
  running.join();
  EXPECT_EQ(first->wait().status, 200);
}

TEST_F(OipRoutesTest, TimeoutsAreTheShorterOfBoth) {
  const auto gate = std::make_shared<Gate>();
  EngineOptions options;
  options.batching = Batching{};
  options.batching->workers = 1;
  options.backend = gate;
  options_.timeout = 60;
  serve(options);
  load();
  gate->close();
  std::shared_ptr<FakeExchange> first;
  std::thread running([&] { first = begin(infer_request(one_item())); });
  gate->wait_for_a_run();
  const auto second = begin(infer_request(one_item(R"(,"parameters":{"timeout_ms":1})")));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  gate->open();
  running.join();
  EXPECT_EQ(first->wait().status, 200);
  EXPECT_EQ(second->wait().status, 504);
  EXPECT_EQ(second->record().reason, "deadline");
}

TEST_F(OipRoutesTest, StatisticsCount) {
  serve();
  load();
  const json::value first = json::parse(get("/v2/models/stats").body).at("model_stats").at(0);
  EXPECT_EQ(first.at("execution_count"), 0);  // the warm-up is none of the clients'
  EXPECT_EQ(first.at("inference_stats").at("compute_infer"), json::parse(R"({"count":0,"ns":0})"));
  EXPECT_EQ(first.at("inference_stats").at("queue"), json::parse(R"({"count":0,"ns":0})"));
  EXPECT_EQ(infer(one_item()).status, 200);
  EXPECT_EQ(infer(one_item()).status, 200);
  EXPECT_EQ(infer("{").status, 400);
  for (const char* path : {"/v2/models/recblr/stats", "/v2/models/recblr/versions/1/stats", "/v2/models/stats"}) {
    const json::value stats = json::parse(get(path).body).at("model_stats").at(0);
    EXPECT_EQ(stats.at("name"), "recblr");
    EXPECT_EQ(stats.at("version"), "1");
    EXPECT_EQ(stats.at("inference_count"), 2);
    EXPECT_EQ(stats.at("execution_count"), 2);
    EXPECT_GT(stats.at("last_inference").as_int64(), 0);
    EXPECT_EQ(stats.at("inference_stats").at("success").at("count"), 2);
    EXPECT_GT(stats.at("inference_stats").at("success").at("ns").as_int64(), 0);
    EXPECT_EQ(stats.at("inference_stats").at("fail").at("count"), 1);
    EXPECT_GT(stats.at("inference_stats").at("compute_infer").at("ns").as_int64(), 0);
  }
}

}  // namespace
}  // namespace recblr::server
