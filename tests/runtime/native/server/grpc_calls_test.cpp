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
  const std::vector<RequestRecord> records = records_.all();  // either may be the first
  EXPECT_EQ((records[0].reason == "client_gone") + (records[1].reason == "client_gone"), 1);
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

TEST_F(GrpcTest, AFullPoolRefusesLargeMessages) {
  serve();
  const Jam jam(&pool_);
  expect(infer(large()), grpc::UNAVAILABLE, "too many requests wait: try again later");
  EXPECT_EQ(statistics_.of(*models_->current()).fail.count, 1);
  EXPECT_TRUE(infer(one_item()).ok());
}

TEST_F(GrpcTest, LargeMessagesMayBeCancelledWhileTheyWaitInThePool) {
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

TEST_F(GrpcTest, LargeAnswersNeedNoPool) {
  serve();
  const Jam jam(&pool_);
  inference::ModelInferRequest request;
  request.set_model_name("recblr");
  add_input("item_ids", {}, &request);
  add_input("lengths", std::vector<int64_t>(1000, 0), &request);
  ASSERT_TRUE(infer(request).ok());
  EXPECT_EQ(integers(0).size(), 6000U);
}

TEST_F(GrpcTest, CallsUnderWayEndWithTheModelTheyBeganWith) {
  const auto gate = std::make_shared<Gate>();
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  std::thread reloading([&] { EXPECT_TRUE(models_->reload()); });
  gate->wait_for_a_run(2);  // its warm-up
  Calling second(stub_.get(), one_item());
  wait_until([&] { return models_->current()->engine.metrics().queued_rows >= 1; });
  gate->open();
  reloading.join();
  EXPECT_TRUE(first.wait().ok());
  EXPECT_EQ(first.response().model_version(), "1");
  EXPECT_TRUE(second.wait().ok());
  ASSERT_TRUE(infer(one_item()).ok());
  EXPECT_EQ(response_.model_version(), "2");
}

TEST_F(GrpcTest, TheServersTimeoutHoldsForCallsWithMore) {
  const auto gate = std::make_shared<Gate>();
  options_.oip.timeout = 0.05;
  serve(gate);
  gate->close();
  Calling first(stub_.get(), one_item());
  gate->wait_for_a_run();
  inference::ModelInferRequest patient = one_item();
  (*patient.mutable_parameters())["timeout"].set_int64_param(60'000'000);
  Calling second(stub_.get(), patient);
  wait_until([&] { return models_->current()->engine.metrics().queued_rows == 1 || records_.all().size() == 1; });
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  gate->open();
  EXPECT_EQ(second.wait().error_code(), grpc::DEADLINE_EXCEEDED);
  first.wait();
}

}  // namespace
}  // namespace recblr::server
#endif
