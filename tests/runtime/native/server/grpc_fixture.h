// The Open Inference Protocol over gRPC, asked by a client of its own.
#pragma once

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "health.grpc.pb.h"
#include "inference.grpc.pb.h"
#include "server/gate.h"
#include "server/grpc/grpc_server.h"
#include "tiny_bundle.h"

namespace recblr::server {

class Records : public Observer {
 public:
  void finished(const RequestRecord& record) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    records_.push_back(record);
  }
  std::vector<RequestRecord> all() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return records_;
  }

 private:
  std::mutex mutex_;
  std::vector<RequestRecord> records_;
};

class GrpcTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "ThreadSanitizer does not see the locks of a libgrpc that is compiled without it";
#endif
  }
  void serve(const std::shared_ptr<Gate>& gate = nullptr) {
    tests::write_bundle(tests::TinyBundle{}, folder_.path());
    ModelOptions options;
    options.path = folder_.path();
    options.engine.batching = Batching{};
    options.engine.batching->workers = 1;
    options.engine.backend = gate;
    models_ = std::make_unique<Models>(options);
    models_->load();
    listen();
  }
  void listen() {
    if (options_.addresses.empty()) options_.addresses = {"127.0.0.1:0"};
    server_ = std::make_unique<GrpcServer>(options_, models_.get(), &pool_, &statistics_, &records_);
    channel_ = grpc::CreateChannel(address(), grpc::InsecureChannelCredentials());
    stub_ = inference::GRPCInferenceService::NewStub(channel_);
  }
  std::string address() const { return server_->urls().at(0).substr(std::strlen("grpc://")); }

  static void add_input(const std::string& name, const std::vector<int64_t>& ids,
                        inference::ModelInferRequest* request) {
    auto* const input = request->add_inputs();
    input->set_name(name);
    input->set_datatype("INT64");
    input->add_shape(static_cast<int64_t>(ids.size()));
    request->add_raw_input_contents(std::string(reinterpret_cast<const char*>(ids.data()), 8 * ids.size()));
  }
  static inference::ModelInferRequest one_item() {
    inference::ModelInferRequest request;
    request.set_model_name("recblr");
    add_input("item_ids", {10}, &request);
    return request;
  }
  // A message that is read in the pool.
  static inference::ModelInferRequest large() {
    inference::ModelInferRequest request;
    request.set_model_name("recblr");
    add_input("item_ids", std::vector<int64_t>(10'000, 10), &request);
    return request;
  }
  grpc::Status infer(const inference::ModelInferRequest& request) {
    grpc::ClientContext context;
    return stub_->ModelInfer(&context, request, &response_);
  }
  std::vector<int64_t> integers(int output) const {
    const std::string& content = response_.raw_output_contents(output);
    std::vector<int64_t> read(content.size() / 8);
    std::memcpy(read.data(), content.data(), content.size());
    return read;
  }

  tests::TemporaryFolder folder_;
  Pool pool_{1, 10};
  OipStatistics statistics_;
  Records records_;
  GrpcOptions options_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
  inference::ModelInferResponse response_;
};

inline void expect(const grpc::Status& status, grpc::StatusCode code, const std::string& message) {
  EXPECT_EQ(status.error_code(), code) << status.error_message();
  EXPECT_EQ(status.error_message(), message);
}

// A call in a thread of its own.
class Calling {
 public:
  Calling(inference::GRPCInferenceService::Stub* stub, const inference::ModelInferRequest& request,
          std::chrono::milliseconds time = std::chrono::minutes(1)) {
    context_.set_deadline(std::chrono::system_clock::now() + time);
    thread_ = std::thread([this, stub, request] { status_ = stub->ModelInfer(&context_, request, &response_); });
  }
  void cancel() { context_.TryCancel(); }
  // Once it has ended.
  const inference::ModelInferResponse& response() const { return response_; }
  grpc::Status wait() {
    thread_.join();
    return status_;
  }

 private:
  grpc::ClientContext context_;
  inference::ModelInferResponse response_;
  grpc::Status status_;
  std::thread thread_;
};

inline int64_t cancelled(const Models& models) { return models.current()->engine.metrics().cancelled; }

inline void wait_until(const std::function<bool()>& is_so) {
  for (int tries = 0; !is_so(); ++tries) {
    ASSERT_LT(tries, 6000);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace recblr::server
