// Calls over gRPC that end early, wait, or come when something else happens.
#ifdef RECBLR_WITH_GRPC
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/grpc_fixture.h"
#include "server/jam.h"

namespace recblr::server {
namespace {

class GrpcCallsTest : public GrpcTest {
 protected:
  // Serves a model whose first call is under way until `gate_` opens.
  void serve_with_a_call() {
    serve(gate_);
    gate_->close();
    first_ = std::make_unique<Calling>(stub_.get(), one_item());
    gate_->wait_for_a_run();
  }

  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::unique_ptr<Calling> first_;
};

TEST_F(GrpcCallsTest, CallsThatAreCancelledAreNotComputedFor) {
  serve_with_a_call();
  Calling second(stub_.get(), one_item());
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1; });
  second.cancel();
  EXPECT_EQ(second.wait().error_code(), grpc::CANCELLED);
  wait_until([&] { return cancelled(*models_) == 1; });
  gate_->open();
  EXPECT_TRUE(first_->wait().ok());
  wait_until([&] { return records_.all().size() == 2; });
  const std::vector<RequestRecord> records = records_.all();  // either may be the first
  EXPECT_EQ((records[0].reason == "client_gone") + (records[1].reason == "client_gone"), 1);
}

TEST_F(GrpcCallsTest, DeadlinesAreKept) {
  serve_with_a_call();
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
  gate_->open();
  EXPECT_TRUE(first_->wait().ok());
  EXPECT_EQ(third.wait().error_code(), grpc::DEADLINE_EXCEEDED);
  wait_until([&] { return records_.all().size() == 3; });
  EXPECT_EQ(records_.all()[0].reason, "deadline");
}

TEST_F(GrpcCallsTest, MoreCallsThanAllowedAreRefused) {
  options_.limits.max_concurrent = 1;
  serve_with_a_call();
  // Of another connection, since one has no more streams than that.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto other = inference::GRPCInferenceService::NewStub(
      grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  expect(other->ModelInfer(&context, one_item(), &response_), grpc::UNAVAILABLE,
         "too many requests are under way: try again later");
  gate_->open();
  EXPECT_TRUE(first_->wait().ok());
  EXPECT_TRUE(infer(one_item()).ok());
}

TEST_F(GrpcCallsTest, DrainAnswersWhatItTook) {
  serve_with_a_call();
  std::thread draining([&] { server_->drain(60); });
  wait_until([&] {
    grpc::ClientContext context;
    inference::ServerLiveResponse live;
    return stub_->ServerLive(&context, {}, &live).error_code() == grpc::UNAVAILABLE;
  });
  gate_->open();
  EXPECT_TRUE(first_->wait().ok());
  draining.join();
}

TEST_F(GrpcCallsTest, DrainEndsInTime) {
  serve_with_a_call();
  Calling second(stub_.get(), one_item());
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1; });
  std::thread opening([&] {
    wait_until([&] { return cancelled(*models_) >= 1; });
    gate_->open();
  });
  EXPECT_EQ(server_->drain(0.05), 2);
  opening.join();
  EXPECT_FALSE(first_->wait().ok());
  EXPECT_FALSE(second.wait().ok());
}

TEST_F(GrpcCallsTest, ManyCallsFromManyThreads) {
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

TEST_F(GrpcCallsTest, AFullPoolRefusesLargeMessages) {
  serve();
  const Jam jam(&pool_);
  expect(infer(large()), grpc::UNAVAILABLE, "too many requests wait: try again later");
  EXPECT_EQ(statistics_.of(*models_->current()).fail.count, 1);
  EXPECT_TRUE(infer(one_item()).ok());
}

TEST_F(GrpcCallsTest, LargeMessagesMayBeCancelledWhileTheyWaitInThePool) {
  serve();
  auto jam = std::make_unique<Jam>(&pool_, false);
  const long holders = models_->current().use_count();
  Calling call(stub_.get(), large());
  wait_until([&] { return models_->current().use_count() > holders; });
  call.cancel();
  EXPECT_EQ(call.wait().error_code(), grpc::CANCELLED);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the server knows, if the machine is not too busy
  jam.reset();
  wait_until([&] { return records_.all().size() == 1; });
  EXPECT_EQ(records_.all()[0].reason, "client_gone");
  EXPECT_TRUE(infer(large()).ok());
}

TEST_F(GrpcCallsTest, LargeAnswersNeedNoPool) {
  serve();
  const Jam jam(&pool_);
  inference::ModelInferRequest request;
  request.set_model_name("recblr");
  add_input("item_ids", {}, &request);
  add_input("lengths", std::vector<int64_t>(1000, 0), &request);
  ASSERT_TRUE(infer(request).ok());
  EXPECT_EQ(integers(0).size(), 6000U);
}

TEST_F(GrpcCallsTest, CallsUnderWayEndWithTheModelTheyBeganWith) {
  serve_with_a_call();
  std::thread reloading([&] { EXPECT_TRUE(models_->reload()); });
  gate_->wait_for_a_run(2);  // its warm-up
  Calling second(stub_.get(), one_item());
  wait_until([&] { return models_->current()->engine.metrics().queued_rows >= 1; });
  gate_->open();
  reloading.join();
  EXPECT_TRUE(first_->wait().ok());
  EXPECT_EQ(first_->response().model_version(), "1");
  EXPECT_TRUE(second.wait().ok());
  ASSERT_TRUE(infer(one_item()).ok());
  EXPECT_EQ(response_.model_version(), "2");
}

TEST_F(GrpcCallsTest, TheServersTimeoutHoldsForCallsWithMore) {
  options_.oip.timeout = 0.05;
  serve_with_a_call();
  inference::ModelInferRequest patient = one_item();
  (*patient.mutable_parameters())["timeout"].set_int64_param(60'000'000);
  Calling second(stub_.get(), patient);
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1 || records_.all().size() == 1; });
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  gate_->open();
  EXPECT_EQ(second.wait().error_code(), grpc::DEADLINE_EXCEEDED);
  first_->wait();
}

}  // namespace
}  // namespace recblr::server
#endif
