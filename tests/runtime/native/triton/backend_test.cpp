// The backend in a server that can do what a real one does seldom: several requests at once, tensors in pieces, GPUs,
// other versions.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "fake_triton.h"
#include "recblr/recblr.hpp"
#include "tiny_bundle.h"

namespace recblr::triton {
namespace {

template <typename Number>
std::string bytes(const std::vector<Number>& numbers) {
  return std::string(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number));
}

template <typename Number>
std::vector<Number> numbers(const TRITONBACKEND_Output& output) {
  std::vector<Number> read(output.content.size() / sizeof(Number));
  std::memcpy(read.data(), output.content.data(), output.content.size());
  return read;
}

// "" for success.
std::string message_of(TRITONSERVER_Error* error) {
  if (error == nullptr) return "";
  std::string message = error->message;
  TRITONSERVER_ErrorDelete(error);
  return message;
}

TRITONBACKEND_Input integers(const std::string& name, const std::vector<int64_t>& values) {
  return {name, TRITONSERVER_TYPE_INT64, {static_cast<int64_t>(values.size())}, {bytes(values)}};
}

class BackendTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_.path() + "/1");
    tests::write_bundle(tiny_, folder_.path() + "/1");
    model_.repository = folder_.path();
  }
  void TearDown() override {
    api_version = {};
    for (TRITONBACKEND_ModelInstance& instance : instances_) {
      EXPECT_EQ(message_of(TRITONBACKEND_ModelInstanceFinalize(&instance)), "");
    }
    if (model_.state != nullptr) {
      EXPECT_EQ(message_of(TRITONBACKEND_ModelFinalize(&model_)), "");
    }
  }

  TRITONBACKEND_ModelInstance& instance() {
    if (model_.state == nullptr) {
      EXPECT_EQ(message_of(TRITONBACKEND_ModelInitialize(&model_)), "");
    }
    TRITONBACKEND_ModelInstance& instance = instances_.emplace_back();
    instance.model = &model_;
    EXPECT_EQ(message_of(TRITONBACKEND_ModelInstanceInitialize(&instance)), "");
    return instance;
  }

  // The ids of the best items for a history, as they must be.
  std::vector<int64_t> expected(const std::vector<int64_t>& history) {
    const Bundle bundle(folder_.path() + "/1");
    const Engine engine(bundle);
    Result result;
    IntegerIds ids;
    ids.add_row(history);
    engine.recommend(Request(ids), &result);
    const Ranking ranking = result.row(0);
    std::vector<int64_t> items;
    for (size_t j = 0; j < ranking.size(); ++j) items.push_back(ranking.integer(j));
    return items;
  }

  const tests::TemporaryFolder folder_;
  tests::TinyBundle tiny_;
  TRITONBACKEND_Model model_;
  std::list<TRITONBACKEND_ModelInstance> instances_;
};

// Requests of one call, whose answers it waits for.
std::vector<Answer> execute(TRITONBACKEND_ModelInstance* instance, std::list<TRITONBACKEND_Request>* requests) {
  std::vector<TRITONBACKEND_Request*> handles;
  for (TRITONBACKEND_Request& request : *requests) handles.push_back(&request);
  EXPECT_EQ(
      message_of(TRITONBACKEND_ModelInstanceExecute(instance, handles.data(), static_cast<uint32_t>(handles.size()))),
      "");
  std::vector<Answer> answers;
  for (TRITONBACKEND_Request* request : handles) {
    if (!request->has_no_response) answers.push_back(request->answer.get_future().get());
    request->released.get_future().get();
  }
  return answers;
}

TRITONBACKEND_Request& add(std::list<TRITONBACKEND_Request>* requests, std::vector<TRITONBACKEND_Input> inputs) {
  TRITONBACKEND_Request& request = requests->emplace_back();
  request.inputs = std::move(inputs);
  request.outputs = {"items"};
  return request;
}

TEST_F(BackendTest, VersionsOfTheApi) {
  struct Case {
    ApiVersion version;
    bool fits;
  };
  for (const Case& c : {Case{{1, 12}, true}, Case{{1, 99}, true}, Case{{1, 11}, false}, Case{{2, 12}, false}}) {
    api_version = c.version;
    const std::string message = message_of(TRITONBACKEND_Initialize(nullptr));
    const std::string shown = std::to_string(c.version.major) + "." + std::to_string(c.version.minor);
    EXPECT_EQ(message.empty(), c.fits) << shown;
    if (!c.fits) {
      EXPECT_EQ(message, "this server has version " + shown +
                             " of Triton's backend API, and recblr needs 1.12 or a later 1.x: take a release from "
                             "23.03 on");
    }
  }
}

TEST_F(BackendTest, RunsOnTheCpu) {
  TRITONBACKEND_BackendAttribute attribute{};
  EXPECT_EQ(message_of(TRITONBACKEND_GetBackendAttribute(nullptr, &attribute)), "");
  EXPECT_EQ(attribute.kind, TRITONSERVER_INSTANCEGROUPKIND_CPU);
  EXPECT_EQ(attribute.count, 1U);
  instance();
  TRITONBACKEND_ModelInstance other;
  other.model = &model_;
  other.kind = TRITONSERVER_INSTANCEGROUPKIND_GPU;
  EXPECT_EQ(message_of(TRITONBACKEND_ModelInstanceInitialize(&other)),
            "config.pbtxt: instance_group has kind KIND_GPU, and this backend runs on the CPU: give KIND_CPU");
  EXPECT_EQ(other.state, nullptr);
}

TEST_F(BackendTest, AModelElsewhereThanInFiles) {
  model_.artifacts = static_cast<TRITONBACKEND_ArtifactType>(1);
  EXPECT_EQ(message_of(TRITONBACKEND_ModelInitialize(&model_)),
            "the model is not in the file system: put its repository there");
  EXPECT_EQ(model_.state, nullptr);
}

TEST_F(BackendTest, CompletesAConfigurationOnlyWhereItMay) {
  model_.completes = false;
  const std::string message = message_of(TRITONBACKEND_ModelInitialize(&model_));
  EXPECT_NE(message.find("it names no inputs"), std::string::npos) << message;
  EXPECT_EQ(model_.config, "{}");
  model_.completes = true;
  instance();
  EXPECT_NE(model_.config.find("item_ids"), std::string::npos);
}

TEST_F(BackendTest, SeveralRequestsInOneCallEachWithItsOwnTensors) {
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  add(&requests, {integers("item_ids", {10, 20, 30})});
  add(&requests, {integers("item_ids", {10, 20}), integers("lengths", {3})});
  add(&requests, {integers("item_ids", {}), integers("lengths", {0})}).outputs = {"popular", "counts"};
  TRITONBACKEND_Request& in_pieces = add(&requests, {integers("item_ids", {40, 50, 60})});
  const std::string whole = in_pieces.inputs[0].buffers[0];
  in_pieces.inputs[0].buffers = {whole.substr(0, 3), "", whole.substr(3, 13), whole.substr(16)};
  TRITONBACKEND_Request& on_gpu = add(&requests, {integers("item_ids", {10})});
  on_gpu.inputs[0].memory = TRITONSERVER_MEMORY_GPU;
  add(&requests, {integers("item_ids", {10})}).output_memory = TRITONSERVER_MEMORY_GPU;
  TRITONBACKEND_Request& pinned = add(&requests, {integers("item_ids", {10})});
  pinned.inputs[0].memory = pinned.output_memory = TRITONSERVER_MEMORY_CPU_PINNED;
  const std::vector<Answer> answers = execute(&one, &requests);

  EXPECT_EQ(numbers<int64_t>(answers[0].outputs.at("items")), expected({10, 20, 30}));
  EXPECT_EQ(answers[1].code, TRITONSERVER_ERROR_INVALID_ARG);
  EXPECT_EQ(answers[1].error, "lengths[0] is 3, but 2 of the 2 item_ids are left: give how many are each user's");
  EXPECT_EQ(answers[2].outputs.size(), 2U);
  EXPECT_EQ(answers[2].outputs.at("popular").content, "\1");
  EXPECT_EQ(answers[2].outputs.at("popular").type, TRITONSERVER_TYPE_BOOL);
  EXPECT_EQ(numbers<int64_t>(answers[2].outputs.at("counts")), std::vector<int64_t>({6}));
  EXPECT_EQ(numbers<int64_t>(answers[3].outputs.at("items")), expected({40, 50, 60}));
  EXPECT_EQ(answers[4].code, TRITONSERVER_ERROR_INVALID_ARG);
  EXPECT_EQ(answers[4].error,
            "item_ids is in the memory of GPU 3: this backend reads the CPU's; send it with the request, or in system "
            "shared memory");
  EXPECT_EQ(answers[5].error,
            "items is wanted in the memory of GPU 3: this backend writes to the CPU's; ask for it with the response, "
            "or in system shared memory");
  EXPECT_EQ(numbers<int64_t>(answers[6].outputs.at("items")), expected({10}));

  EXPECT_EQ(one.succeeded, 4);
  EXPECT_EQ(one.failed, 3);
  EXPECT_EQ(one.batches, 1);
  EXPECT_EQ(one.batched, 4U);
  EXPECT_GT(one.times.began, 0U);
  EXPECT_LE(one.times.began, one.times.submitted);
  EXPECT_LE(one.times.submitted, one.times.computed);
  EXPECT_LE(one.times.computed, one.times.ended);
}

TEST_F(BackendTest, ParametersOfEveryType) {
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  add(&requests, {integers("item_ids", {10})}).parameters = {
      {"k", int64_t{2}}, {"exclude_seen", false}, {"timeout_ms", 60'000.5}, {"anything", std::string("else")}};
  add(&requests, {integers("item_ids", {10})}).parameters = {{"k", std::string("2")}};
  add(&requests, {integers("item_ids", {10})}).timeout = 60'000'000;
  add(&requests, {integers("item_ids", {10})}).parameters = {{"model", std::string("sha256:1")}};
  const std::vector<Answer> answers = execute(&one, &requests);
  EXPECT_EQ(answers[0].parameters.at("model").find("sha256:"), 0U);
  EXPECT_EQ(answers[3].error, "the model is " + answers[0].parameters.at("model") +
                                  ", not 'sha256:1': a state is of one model only; feed the whole history");
  EXPECT_EQ(answers[0].outputs.at("items").shape, std::vector<int64_t>({1, 2}));
  EXPECT_EQ(answers[1].error, "k is '2': give a whole number from 1 to 6");
  EXPECT_EQ(numbers<int64_t>(answers[2].outputs.at("items")), expected({10}));
}

TEST_F(BackendTest, TheShorterOfTheModelsAndTheRequestsTimeoutCounts) {
  model_.config = R"({"parameters": {"timeout": {"string_value": "0.000001"}, "workers": {"string_value": "1"},
                      "max_delay_ms": {"string_value": "50"}}})";
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  add(&requests, {integers("item_ids", {10})}).timeout = 60'000'000;
  add(&requests, {integers("item_ids", {10})}).parameters = {{"timeout_ms", 60'000.0}};
  add(&requests, {integers("item_ids", {10})});
  for (const Answer& answer : execute(&one, &requests)) {
    EXPECT_EQ(answer.code, TRITONSERVER_ERROR_UNAVAILABLE);
    EXPECT_EQ(answer.error.find("the request waited "), 0U) << answer.error;
  }
}

TEST_F(BackendTest, ARequestWhoseClientHasLeftIsNotComputed) {
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  add(&requests, {integers("item_ids", {10})}).is_cancelled = true;
  add(&requests, {integers("item_ids", {20})});
  const std::vector<Answer> answers = execute(&one, &requests);
  EXPECT_EQ(answers[0].code, TRITONSERVER_ERROR_CANCELLED);
  EXPECT_EQ(answers[0].error, "the request was withdrawn by its client");
  EXPECT_EQ(numbers<int64_t>(answers[1].outputs.at("items")), expected({20}));
}

TEST_F(BackendTest, WhatIsThrownFailsItsRequestAlone) {
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  add(&requests, {integers("item_ids", {10})}).throws = true;
  add(&requests, {integers("item_ids", {20})});
  const std::vector<Answer> answers = execute(&one, &requests);
  EXPECT_EQ(answers[0].code, TRITONSERVER_ERROR_INTERNAL);
  EXPECT_EQ(answers[0].error, "an exception of an unknown type");
  EXPECT_EQ(numbers<int64_t>(answers[1].outputs.at("items")), expected({20}));
}

TEST_F(BackendTest, MoreThreadsThanAreOfUseAreRefused) {
  for (const std::string name : {"threads", "workers"}) {
    model_.config = R"({"parameters": {")" + name + R"(": {"string_value": "1000000000"}}})";
    EXPECT_EQ(message_of(TRITONBACKEND_ModelInitialize(&model_)),
              "config.pbtxt: parameter " + name + " is 1000000000: give a whole number from 1 to 1,024");
    EXPECT_EQ(model_.state, nullptr);
  }
}

TEST_F(BackendTest, ARequestThatGetsNoResponseIsLetGo) {
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  add(&requests, {integers("item_ids", {10})}).has_no_response = true;
  add(&requests, {integers("item_ids", {10}), integers("lengths", {2})}).has_no_response = true;
  EXPECT_TRUE(execute(&one, &requests).empty());
  EXPECT_EQ(one.succeeded, 0);
  EXPECT_EQ(one.failed, 2);
}

TEST_F(BackendTest, AnInstanceThatGoesAnswersFirst) {
  model_.config = R"({"parameters": {"max_delay_ms": {"string_value": "100"}}})";
  TRITONBACKEND_ModelInstance& one = instance();
  std::list<TRITONBACKEND_Request> requests;
  std::vector<TRITONBACKEND_Request*> handles;
  for (int j = 0; j < 5; ++j) handles.push_back(&add(&requests, {integers("item_ids", {10})}));
  EXPECT_EQ(message_of(TRITONBACKEND_ModelInstanceExecute(&one, handles.data(), 5)), "");
  EXPECT_EQ(message_of(TRITONBACKEND_ModelInstanceFinalize(&one)), "");
  instances_.clear();
  for (TRITONBACKEND_Request* request : handles) {
    const std::future<void> released = request->released.get_future();
    EXPECT_EQ(released.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  }
}

TEST_F(BackendTest, InstancesAnswerAtOnce) {
  const std::vector<std::vector<int64_t>> histories = {{10}, {20, 30}, {60, 50, 40, 30}, {10, 20, 30, 40, 50}};
  std::vector<std::vector<int64_t>> rankings;
  for (const auto& history : histories) rankings.push_back(expected(history));
  std::vector<std::thread> threads;
  for (int j = 0; j < 4; ++j) {
    threads.emplace_back([&, one = &instance()] {
      for (int n = 0; n < 50; ++n) {
        std::list<TRITONBACKEND_Request> requests;
        for (const auto& history : histories) add(&requests, {integers("item_ids", history)});
        const std::vector<Answer> answers = execute(one, &requests);
        for (size_t b = 0; b < histories.size(); ++b) {
          EXPECT_EQ(numbers<int64_t>(answers[b].outputs.at("items")), rankings[b]);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const TRITONBACKEND_ModelInstance& one : instances_) EXPECT_EQ(one.succeeded, 200);
}

}  // namespace
}  // namespace recblr::triton
