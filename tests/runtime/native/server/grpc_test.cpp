#ifdef RECBLR_WITH_GRPC
#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/grpc_fixture.h"

namespace recblr::server {
namespace {

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
  const auto models = [&](bool ready) {
    inference::RepositoryIndexRequest request;
    request.set_ready(ready);
    inference::RepositoryIndexResponse index;
    EXPECT_TRUE(call(&Stub::RepositoryIndex, request, &index).ok());
    return index.models_size();
  };
  EXPECT_EQ(models(true), 1);
  EXPECT_EQ(check(), grpc::health::v1::HealthCheckResponse::SERVING);
  models_->set_draining();
  EXPECT_EQ(check(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_TRUE(call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_FALSE(ready.ready());
  EXPECT_EQ(models(true), 0);
  EXPECT_EQ(models(false), 1);
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
  EXPECT_EQ(response_.parameters().at("model").string_param(), models_->current()->bundle.fingerprint());
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
  (*request.mutable_parameters())["model"].set_string_param("sha256:1");
  expect(infer(request), grpc::INVALID_ARGUMENT,
         "the model is " + std::string(models_->current()->bundle.fingerprint()) +
             ", not 'sha256:1': a state is of one model only; feed the whole history");
  request = one_item();
  (*request.mutable_parameters())["kk"].set_int64_param(6);
  expect(infer(request), grpc::INVALID_ARGUMENT,
         "parameter 'kk' is none of this model's: use k, exclude_seen, timeout_ms, timeout, model");
  request = one_item();
  request.set_model_version("3");
  expect(infer(request), grpc::NOT_FOUND, "version '3' of model 'recblr' is not served: use '1', or none");
  request.set_raw_input_contents(0, std::string(200'000, '\0'));
  EXPECT_EQ(infer(request).error_code(), grpc::RESOURCE_EXHAUSTED);
  request = one_item();
  request.set_id(std::string(1025, 'a'));
  expect(infer(request), grpc::INVALID_ARGUMENT, "id has 1,025 bytes: give at most 1,024");
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

TEST_F(GrpcTest, CallsThatAreNotThereAreRefusedInWords) {
  serve();
  grpc::GenericStub stub(channel_);
  const auto refusal = [&stub](const std::string& method) {
    grpc::ClientContext context;
    const grpc::Slice nothing;
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer response;
    const auto status = std::make_shared<std::promise<grpc::Status>>();
    stub.UnaryCall(&context, method, {}, &request, &response,
                   [status](grpc::Status ended) { status->set_value(std::move(ended)); });
    return status->get_future().get();
  };
  expect(refusal("/inference.GRPCInferenceService/ModelConfig"), grpc::UNIMPLEMENTED,
         "recblr-serve has no call '/inference.GRPCInferenceService/ModelConfig': docs/oip.md lists those that it has");
  expect(refusal("/inference.GRPCInferenceService/RepositoryModelLoad"), grpc::UNIMPLEMENTED,
         "recblr-serve has no call '/inference.GRPCInferenceService/RepositoryModelLoad': another model is loaded with "
         "POST /v1/model/reload");
}

TEST_F(GrpcTest, AddressesThatAreTakenAreToldOf) {
  serve();
  options_.addresses = {address()};
  std::string warnings, message;
  options_.warn = [&warnings](const std::string& line) { warnings += line; };
  try {
    GrpcServer(options_, models_.get(), &pool_, &statistics_, nullptr);
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kBadConfig);
    message = error.what();
  }
  EXPECT_EQ(message.rfind("cannot listen at '" + address() + "' for gRPC", 0), 0U) << message;
  EXPECT_EQ(warnings, "");  // the error says it all
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
