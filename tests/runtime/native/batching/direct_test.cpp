#include "batching/direct.h"

#include <gtest/gtest.h>

#include "batching/fakes.h"

namespace recblr {
namespace {

TEST(DirectExecutor, SplitsWhatIsLargerThanTheBackendTakes) {
  const auto backend = std::make_shared<FakeBackend>(kSmall);
  DirectExecutor executor(backend, kStateSize);
  const Asked asked(Lists{range(1, 20), {3}, {}, {4}, {5}, {6}, {7}}, Lists{{5}, {}, {6}, range(1, 9)});
  executor.run(asked.rows(), asked.n_rows());
  EXPECT_EQ(asked.scores(), asked.expected());
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{8}, {8}, {4}, {1, 0}, {1, 1, 1, 1}}));
}

TEST(DirectExecutor, RepeatsInHalvesWhatIsTooLargeForTheMemory) {
  const auto backend = std::make_shared<FakeBackend>();
  DirectExecutor executor(backend, kStateSize);
  backend->max_rows = 2;
  const Asked asked(Lists{{1}, {2, 3}, {}, {4}, {5}});
  executor.run(asked.rows(), asked.n_rows());
  EXPECT_EQ(asked.scores(), asked.expected());
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{1, 2, 0, 1, 1}, {1, 2}, {0, 1, 1}, {0}, {1, 1}}));
}

TEST(DirectExecutor, TheFirstFailureEndsARequest) {
  const auto backend = std::make_shared<FakeBackend>();
  DirectExecutor executor(backend, kStateSize);
  const Asked asked(Lists{{1}, {kPoison}, {2}, {3}});
  EXPECT_EQ(error_of([&] { executor.run(asked.rows(), asked.n_rows()); }).second, Code::kBackend);
  EXPECT_EQ(backend->runs(), (std::vector<FakeBackend::Run>{{1, 1, 1, 1}, {1, 1}, {1}, {1}}));
}

TEST(DirectExecutor, WhatHasNothingToDoWithTheRowsIsNotRepeated) {
  for (const Code code : {Code::kCancelled, Code::kClosed, Code::kFork}) {
    const auto backend = std::make_shared<FakeBackend>();
    DirectExecutor executor(backend, kStateSize);
    backend->fail_with([code] { throw Error(code, "no more"); });
    const Asked asked(Lists{{1}, {2}});
    EXPECT_EQ(error_of([&] { executor.run(asked.rows(), asked.n_rows()); }).second, code);
    EXPECT_EQ(backend->runs().size(), 1u);
  }
}

TEST(DirectExecutor, TellsBeforeSubmitReturns) {
  DirectExecutor executor(std::make_shared<FakeBackend>(), kStateSize);
  Asked good(Lists{{1}}), bad(Lists{{kPoison}});
  executor.submit(good.rows(), 1, good.done());
  const Ticket ticket = executor.submit(bad.rows(), 1, bad.done());
  EXPECT_TRUE(good.is_told() && bad.is_told());
  EXPECT_EQ(good.wait(), "");
  EXPECT_EQ(bad.wait(),
            "the backend failed on this request (index out of range): check its items and states; other requests are "
            "not affected");
  EXPECT_EQ(bad.code, Code::kBackend);
  EXPECT_FALSE(executor.cancel(ticket));
  executor.submit(good.rows(), 1, [](const std::exception_ptr&) { throw std::runtime_error("x"); });
}

TEST(DirectExecutor, TimeThatRunsOutStopsItBetweenParts) {
  const auto backend = std::make_shared<FakeBackend>(kSmall);
  DirectExecutor executor(backend, kStateSize);
  Asked asked(Lists{range(1, 20)});
  backend->shut();
  std::thread opener([&] {
    EXPECT_TRUE(backend->wait_for_runs(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    backend->open();
  });
  const auto [message, code] = error_of([&] { executor.run(asked.rows(), 1, 0.001); });
  opener.join();
  EXPECT_EQ(code, Code::kDeadline) << message;
  EXPECT_EQ(backend->runs().size(), 1u);
  EXPECT_EQ(error_of([&] { executor.run(asked.rows(), 1, -1.0); }).first, "timeout is -1.0: give seconds above 0");
}

TEST(DirectExecutor, ClosingWaitsForWhatRuns) {
  const auto backend = std::make_shared<FakeBackend>();
  DirectExecutor executor(backend, kStateSize);
  Asked asked(Lists{{1}}), late(Lists{{2}});
  backend->shut();
  std::thread caller([&] { executor.run(asked.rows(), 1); });
  ASSERT_TRUE(backend->wait_for_runs(1));
  executor.close(true, 0.01);
  EXPECT_EQ(error_of([&] { executor.submit(late.rows(), 1, late.done()); }).second, Code::kClosed);
  EXPECT_FALSE(late.is_told());
  backend->open();
  executor.close(true, std::nullopt);
  EXPECT_EQ(asked.scores(), asked.expected());
  caller.join();
}

}  // namespace
}  // namespace recblr
