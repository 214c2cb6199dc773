// Closing a batcher: what waits is answered or failed, each once, and nothing is touched after.
#include <gtest/gtest.h>

#include "batching/batcher.h"
#include "batching/fakes.h"

namespace recblr {
namespace {

class BatcherCloseTest : public ::testing::Test {
 protected:
  ~BatcherCloseTest() override { backend->open(); }

  Ticket submit(Asked* asked) { return batcher->submit(asked->rows(), asked->n_rows(), asked->done()); }
  void block() {
    backend->shut();
    submit(&blocking);
    ASSERT_TRUE(backend->wait_for_runs(1));
  }

  Asked blocking{Lists{{1}}};
  std::shared_ptr<FakeBackend> backend = std::make_shared<FakeBackend>();
  std::unique_ptr<Batcher> batcher = std::make_unique<Batcher>(backend, kStateSize, small_settings());
};

TEST_F(BatcherCloseTest, AnswersWhatWaits) {
  block();
  std::vector<std::unique_ptr<Asked>> waiting;
  for (int n = 0; n < 6; ++n) waiting.push_back(std::make_unique<Asked>(Lists{{n}}));
  waiting.push_back(std::make_unique<Asked>(Lists{range(1, 30)}));
  for (const auto& asked : waiting) submit(asked.get());
  backend->open();
  batcher->close(true, std::nullopt);
  for (const auto& asked : waiting) {
    ASSERT_TRUE(asked->is_told());
    EXPECT_EQ(asked->wait(), "");
    EXPECT_EQ(asked->scores(), asked->expected());
  }
  for (const auto& call : {std::function<void()>([&] { batcher->run(blocking.rows(), 1); }),
                           std::function<void()>([&] { submit(&blocking); })}) {
    const auto [message, code] = error_of(call);
    EXPECT_EQ(message, "the engine is closed: make a new one");
    EXPECT_EQ(code, Code::kClosed);
  }
  batcher->close(false, 0.0);
}

TEST_F(BatcherCloseTest, WithoutDrainingFailsWhatWaits) {
  block();
  Asked step(Lists{{1}}), history(Lists{range(1, 30)});
  submit(&step);
  submit(&history);
  std::thread closing([&] { batcher->close(false, std::nullopt); });
  for (Asked* asked : {&step, &history}) {
    EXPECT_EQ(asked->wait(), "the engine was closed before the request ran");
    EXPECT_EQ(asked->code, Code::kClosed);
  }
  EXPECT_FALSE(blocking.is_told());
  backend->open();
  closing.join();
  EXPECT_TRUE(blocking.is_told());
  EXPECT_EQ(blocking.wait(), "");
}

TEST_F(BatcherCloseTest, LeavesARunThatDoesNotEnd) {
  block();
  Asked waiting(Lists{{1}});
  submit(&waiting);
  batcher->close(true, 0.01);
  ASSERT_TRUE(waiting.is_told());
  EXPECT_EQ(waiting.wait(), "the engine was closed, and had not answered within 0.01 s");
  EXPECT_FALSE(blocking.is_told());  // its memory is still written to
  EXPECT_EQ(batcher->metrics().open_requests, 0);
  backend->open();
  EXPECT_EQ(blocking.wait(), "the engine was closed, and had not answered within 0.01 s");
  EXPECT_EQ(blocking.code, Code::kClosed);
}

TEST_F(BatcherCloseTest, WaitsForWhatCallersRun) {
  backend->shut();
  Asked asked(Lists{{1, 2}});
  auto answered = std::async(std::launch::async, [&] { batcher->run(asked.rows(), 1); });
  ASSERT_TRUE(backend->wait_for_runs(1));
  batcher->close(true, 0.01);
  EXPECT_EQ(error_of([&] { submit(&blocking); }).second, Code::kClosed);
  auto closing = std::async(std::launch::async, [&] { batcher->close(true, std::nullopt); });
  EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  backend->open();
  closing.get();
  answered.get();
  EXPECT_EQ(asked.scores(), asked.expected());
}

TEST_F(BatcherCloseTest, OfAWaitingThreadTellsIt) {
  block();
  Asked asked(Lists{{1}});
  auto failed = std::async(std::launch::async, [&] { return error_of([&] { batcher->run(asked.rows(), 1); }); });
  while (batcher->metrics().queued_rows == 0) std::this_thread::yield();
  batcher->close(false, 0.0);
  EXPECT_EQ(failed.get().first, "the engine was closed before the request ran");
  backend->open();
}

TEST_F(BatcherCloseTest, ByACallbackDoesNotWaitForItself) {
  std::promise<void> destroyed;
  batcher->submit(blocking.rows(), 1, [&](const std::exception_ptr&) {
    batcher->close(true, std::nullopt);
    batcher.reset();
    destroyed.set_value();
  });
  EXPECT_EQ(destroyed.get_future().wait_for(kWait), std::future_status::ready);
}

TEST_F(BatcherCloseTest, ByTheCallbackOfACancelledRequestDoesNotWaitForItself) {
  block();
  Asked asked(Lists{{1}});
  bool closed = false;
  const Ticket ticket = batcher->submit(asked.rows(), 1, [&](const std::exception_ptr&) {
    batcher->close(true, std::nullopt);
    closed = true;
  });
  EXPECT_TRUE(batcher->cancel(ticket));
  EXPECT_TRUE(closed);
  backend->open();
  EXPECT_EQ(blocking.wait(), "");
}

TEST_F(BatcherCloseTest, FromManyThreadsAtOnce) {
  block();
  std::vector<std::thread> closing;
  for (int n = 0; n < 4; ++n) closing.emplace_back([&, n] { batcher->close(n % 2 == 0, std::nullopt); });
  backend->open();
  for (std::thread& thread : closing) thread.join();
  EXPECT_TRUE(blocking.is_told());
}

TEST(Batcher, AWorkerThatDiesLeavesNoCallerWaiting) {
  for (const int workers : {1, 3}) {
    std::atomic<bool> broken{false};
    const std::thread::id test = std::this_thread::get_id();
    BatchingSettings settings = small_settings(workers);
    settings.max_delay = 0.5;
    settings.clock = [&broken, test] {
      if (broken && std::this_thread::get_id() != test) throw std::runtime_error("no clock");
      return 0.0;
    };
    Batcher batcher(std::make_shared<FakeBackend>(), kStateSize, settings);
    Asked first(Lists{{1}}), second(Lists{{2}});
    batcher.submit(first.rows(), 1, first.done());
    broken = true;
    try {
      batcher.submit(second.rows(), 1, second.done());
      EXPECT_EQ(second.wait(), "a worker of the engine ended (no clock)");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kClosed);
    }
    EXPECT_EQ(first.wait(), "a worker of the engine ended (no clock)");
    EXPECT_EQ(first.code, Code::kClosed);
    batcher.close(true, 60.0);
  }
}

}  // namespace
}  // namespace recblr
