#ifdef RECBLR_WITH_GRPC
#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "health.grpc.pb.h"
#include "inference.grpc.pb.h"
#include "server/gate.h"
#include "server/grpc/grpc_server.h"
#include "tiny_bundle.h"

namespace recblr::server {
namespace {

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

void expect(const grpc::Status& status, grpc::StatusCode code, const std::string& message) {
  EXPECT_EQ(status.error_code(), code) << status.error_message();
  EXPECT_EQ(status.error_message(), message);
}

TEST_F(GrpcTest, TellsWhatItServes) {
  serve();
  const auto call = [&](auto method, auto request, auto* response) {
    grpc::ClientContext context;
    return ((*stub_).*method)(&context, request, response);
  };
  using Stub = inference::GRPCInferenceService::Stub;
  inference::ServerLiveResponse live;
  EXPECT_TRUE(call(&Stub::ServerLive, inference::ServerLiveRequest(), &live).ok());
  EXPECT_TRUE(live.live());
  inference::ServerReadyResponse ready;
  EXPECT_TRUE(call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_TRUE(ready.ready());
  inference::ModelMetadataRequest named;
  named.set_name("recblr");
  named.set_version("1");
  inference::ModelMetadataResponse metadata;
  EXPECT_TRUE(call(&Stub::ModelMetadata, named, &metadata).ok());
  EXPECT_EQ(metadata.inputs(0).name(), "item_ids");
  EXPECT_EQ(metadata.outputs(5).shape(1), 16);
  inference::ModelReadyRequest asked;
  asked.set_name("recblr");
  inference::ModelReadyResponse model_ready;
  EXPECT_TRUE(call(&Stub::ModelReady, asked, &model_ready).ok());
  EXPECT_TRUE(model_ready.ready());
  asked.set_name("other");
  EXPECT_TRUE(call(&Stub::ModelReady, asked, &model_ready).ok());
  EXPECT_FALSE(model_ready.ready());
  named.set_name("other");
  expect(call(&Stub::ModelMetadata, named, &metadata), grpc::NOT_FOUND,
         "model 'other' is not served here: use 'recblr'");
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto check = [&] {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(health->Check(&context, {}, &response).ok());
    return response.status();
  };
  EXPECT_EQ(check(), grpc::health::v1::HealthCheckResponse::SERVING);
  models_->set_draining();
  EXPECT_EQ(check(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_TRUE(call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_FALSE(ready.ready());
}

TEST_F(GrpcTest, AnswersBytesAndContents) {
  serve();
  inference::ModelInferRequest raw;
  raw.set_model_name("recblr");
  raw.set_id("a");
  add_input("item_ids", {10, 20, 99}, &raw);
  add_input("lengths", {1, 2}, &raw);
  (*raw.mutable_parameters())["k"].set_int64_param(6);
  ASSERT_TRUE(infer(raw).ok());
  EXPECT_EQ(response_.model_name(), "recblr");
  EXPECT_EQ(response_.model_version(), "1");
  EXPECT_EQ(response_.id(), "a");
  ASSERT_EQ(response_.outputs_size(), 5);
  EXPECT_EQ(response_.outputs(0).name(), "items");
  EXPECT_EQ(integers(2), (std::vector<int64_t>{5, 5}));
  EXPECT_EQ(integers(3), (std::vector<int64_t>{0, 1}));
  const std::vector<int64_t> items = integers(0);

  inference::ModelInferRequest typed = raw;
  typed.clear_raw_input_contents();
  typed.mutable_inputs(0)->set_datatype("BYTES");
  for (const char* id : {"10", "20", "99"}) typed.mutable_inputs(0)->mutable_contents()->add_bytes_contents(id);
  typed.mutable_inputs(1)->set_datatype("INT32");
  for (const int length : {1, 2}) typed.mutable_inputs(1)->mutable_contents()->add_int_contents(length);
  (*typed.mutable_parameters())["k"].set_uint64_param(6);
  typed.add_outputs()->set_name("items");
  ASSERT_TRUE(infer(typed).ok());
  EXPECT_EQ(response_.outputs_size(), 1);
  EXPECT_EQ(integers(0), items);

  const std::vector<RequestRecord> records = records_.all();
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].protocol, "grpc");
  EXPECT_EQ(records[0].route, "/inference.GRPCInferenceService/ModelInfer");
  EXPECT_EQ(records[0].status, 200);
  EXPECT_EQ(records[0].rows, 2);
  EXPECT_EQ(records[0].items, 3);
  EXPECT_GT(records[0].request_bytes, 32);
  EXPECT_GT(records[0].response_bytes, 160);
  EXPECT_EQ(records[0].request_id.size(), 32U);
}

TEST_F(GrpcTest, LargeMessagesGoThroughThePool) {
  serve();
  inference::ModelInferRequest request;
  request.set_model_name("recblr");
  add_input("item_ids", std::vector<int64_t>(10'000, 10), &request);
  add_input("lengths", std::vector<int64_t>(1000, 10), &request);
  ASSERT_TRUE(infer(request).ok());
  EXPECT_EQ(integers(0).size(), 5000U);
}

TEST_F(GrpcTest, ErrorsAreInWords) {
  options_.limits.max_body_bytes = 100'000;
  serve();
  inference::ModelInferRequest request = one_item();
  request.add_raw_input_contents("");
  expect(infer(request), grpc::INVALID_ARGUMENT, "raw_input_contents are 2 for 1 inputs: give one for each, or none");
  request = one_item();
  request.mutable_inputs(0)->mutable_contents()->add_int64_contents(1);
  expect(infer(request), grpc::INVALID_ARGUMENT,
         "input 'item_ids' has contents besides raw_input_contents: give one of them");
  request = one_item();
  (*request.mutable_parameters())["k"].set_string_param("many");
  expect(infer(request), grpc::INVALID_ARGUMENT, "k is 'many': give a whole number from 1 to 6");
  (*request.mutable_parameters())["k"].set_int64_param(7);
  expect(infer(request), grpc::INVALID_ARGUMENT, "k is 7, but the catalogue has 6 items: ask for at most those");
  request = one_item();
  request.set_model_version("3");
  expect(infer(request), grpc::NOT_FOUND, "version '3' of model 'recblr' is not served: use '1', or none");
  request.set_raw_input_contents(0, std::string(200'000, '\0'));
  EXPECT_EQ(infer(request).error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(records_.all()[0].status, 400);
  EXPECT_EQ(records_.all()[0].reason, "invalid");
}

TEST_F(GrpcTest, TokensAreNeeded) {
  options_.tokens.user = "secret";
  serve();
  const auto infer_with = [&](const char* authorization) {
    grpc::ClientContext context;
    if (authorization != nullptr) context.AddMetadata("authorization", authorization);
    return stub_->ModelInfer(&context, one_item(), &response_);
  };
  expect(infer_with(nullptr), grpc::UNAUTHENTICATED,
         "a token is needed: send the metadata authorization: Bearer TOKEN");
  expect(infer_with("Bearer secre"), grpc::UNAUTHENTICATED,
         "the token is none of this server's: ask whoever runs it for one");
  EXPECT_TRUE(infer_with("Bearer secret").ok());
  grpc::ClientContext context;
  inference::ServerReadyResponse ready;
  EXPECT_TRUE(stub_->ServerReady(&context, {}, &ready).ok());
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

int64_t cancelled(const Models& models) { return models.current()->engine.metrics().cancelled; }

void wait_until(const std::function<bool()>& is_so) {
  for (int tries = 0; !is_so(); ++tries) {
    ASSERT_LT(tries, 6000);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

TEST_F(GrpcTest, CallsThatAreCancelledAreNotComputedFor) {
  const auto gate = std::make_shared<Gate>();
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  Calling second(stub_.get(), one_item());
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1; });
  second.cancel();
  EXPECT_EQ(second.wait().error_code(), grpc::CANCELLED);
  wait_until([&] { return cancelled(*models_) == 1; });
  gate->open();
  EXPECT_TRUE(first.wait().ok());
  wait_until([&] { return records_.all().size() == 2; });
  EXPECT_EQ(records_.all()[0].reason, "client_gone");
}

TEST_F(GrpcTest, DeadlinesAreKept) {
  const auto gate = std::make_shared<Gate>();
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  const auto wait_for_queued = [&](int64_t rows) {
    wait_until([&, rows] { return models_->current()->engine.metrics().queued_rows == rows; });
  };
  Calling second(stub_.get(), one_item(), std::chrono::seconds(1));
  wait_for_queued(1);
  EXPECT_EQ(second.wait().error_code(), grpc::DEADLINE_EXCEEDED);
  wait_for_queued(0);
  inference::ModelInferRequest hasty = one_item();
  (*hasty.mutable_parameters())["timeout"].set_int64_param(1000);
  Calling third(stub_.get(), hasty);
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1 || records_.all().size() == 2; });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  gate->open();
  EXPECT_TRUE(first.wait().ok());
  EXPECT_EQ(third.wait().error_code(), grpc::DEADLINE_EXCEEDED);
  wait_until([&] { return records_.all().size() == 3; });
  EXPECT_EQ(records_.all()[0].reason, "deadline");
}

TEST_F(GrpcTest, MoreCallsThanAllowedAreRefused) {
  const auto gate = std::make_shared<Gate>();
  options_.limits.max_concurrent = 1;
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  // Of another connection, since one has no more streams than that.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto other = inference::GRPCInferenceService::NewStub(
      grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  expect(other->ModelInfer(&context, one_item(), &response_), grpc::UNAVAILABLE,
         "too many requests are under way: try again later");
  gate->open();
  EXPECT_TRUE(first.wait().ok());
  EXPECT_TRUE(infer(one_item()).ok());
}

TEST_F(GrpcTest, DrainAnswersWhatItTook) {
  const auto gate = std::make_shared<Gate>();
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  std::thread draining([&] { server_->drain(60); });
  wait_until([&] {
    grpc::ClientContext context;
    inference::ServerLiveResponse live;
    return stub_->ServerLive(&context, {}, &live).error_code() == grpc::UNAVAILABLE;
  });
  gate->open();
  EXPECT_TRUE(first.wait().ok());
  draining.join();
}

TEST_F(GrpcTest, DrainEndsInTime) {
  const auto gate = std::make_shared<Gate>();
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  Calling second(stub_.get(), one_item());
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1; });
  std::thread opening([&] {
    wait_until([&] { return cancelled(*models_) >= 1; });
    gate->open();
  });
  EXPECT_EQ(server_->drain(0.05), 2);
  opening.join();
  EXPECT_FALSE(first.wait().ok());
  EXPECT_FALSE(second.wait().ok());
}

TEST_F(GrpcTest, AddressesThatAreTakenAreToldOf) {
  serve();
  options_.addresses = {address()};
  options_.warn = [](const std::string&) {};
  std::string message;
  try {
    GrpcServer(options_, models_.get(), &pool_, &statistics_, nullptr);
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kBadConfig);
    message = error.what();
  }
  EXPECT_EQ(message.rfind("cannot listen at '" + address() + "' for gRPC", 0), 0U) << message;
}

TEST_F(GrpcTest, ManyCallsFromManyThreads) {
  serve();
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int j = 0; j < 25; ++j) {
        Calling call(stub_.get(), one_item());
        if ((t + j) % 4 == 0) call.cancel();
        answered += call.wait().ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(answered, 150);
  EXPECT_TRUE(infer(one_item()).ok());
}

// What no gRPC client sends.
TEST_F(GrpcTest, GarbageIsNoHarm) {
  serve();
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  std::vector<std::string> garbage = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      std::string(1000, '\0'),
      preface.substr(0, 10),
      preface + std::string("\xff\xff\xff\1\5\0\0\0\1", 9),                          // headers of 16 MiB
      preface + settings + std::string("\0\0\4\1\5\0\0\0\1\xff\xff\xff\xff", 13),    // which are no HPACK
      preface + settings + std::string("\0\0\5\0\1\0\0\0\1\0\xff\xff\xff\xff", 14),  // data without headers
      preface + settings + std::string("\0\0\4\x8\0\0\0\0\0\0\0\0\0", 13),           // a window of nothing
      preface + settings + std::string("\0\0\4\3\0\0\0\0\0\0\0\0\0", 13),            // a reset of no stream
  };
  std::mt19937 random(7);
  for (int j = 0; j < 40; ++j) {
    std::string frames = preface + settings;
    for (int k = 0; k < 200; ++k) frames += static_cast<char>(random());
    garbage.push_back(frames);
  }
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  where.sin_port = htons(static_cast<uint16_t>(std::stoi(address().substr(address().rfind(':') + 1))));
  for (const std::string& bytes : garbage) {
    const int file = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(file, reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
    static_cast<void>(send(file, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    shutdown(file, SHUT_WR);
    char reply[4096];
    while (recv(file, reply, sizeof reply, 0) > 0) {
    }
    close(file);
  }
  EXPECT_TRUE(infer(one_item()).ok());
}

}  // namespace
}  // namespace recblr::server
#endif
