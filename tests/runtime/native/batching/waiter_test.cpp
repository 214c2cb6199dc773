// Threads that wait are woken by their bell, and end when they are answered.
#include "batching/waiter.h"

#include <gtest/gtest.h>

#include <array>
#include <future>
#include <vector>

#include "batching/fakes.h"

namespace recblr {
namespace {

std::future<std::exception_ptr> waiting(Waiter* waiter, Bell* bell) {
  waiter->set_bell(bell);
  return std::async(std::launch::async, [waiter] { return waiter->wait(); });
}

TEST(Waiter, DoesNotWaitForWhatIsAnswered) {
  Bell silent;
  Waiter waiter;
  waiter.set_bell(&silent);
  const auto error = std::make_exception_ptr(Error(Code::kClosed, "closed"));
  waiter.answer(error);
  EXPECT_EQ(waiter.wait(), error);
}

TEST(Waiter, AllOfOneBellEndByOneRing) {
  constexpr size_t kThreads = 32;
  Bell bell;
  std::array<Waiter, kThreads> waiters;
  std::vector<std::future<std::exception_ptr>> ended;
  for (Waiter& waiter : waiters) ended.push_back(waiting(&waiter, &bell));
  for (Waiter& waiter : waiters) waiter.answer(nullptr);
  bell.ring();
  for (auto& end : ended) {
    ASSERT_EQ(end.wait_for(kWait), std::future_status::ready);
    EXPECT_EQ(end.get(), nullptr);
  }
}

TEST(Waiter, WaitsOnWhereTheBellRangForAnother) {
  Bell bell;
  Waiter first, second;
  auto first_ended = waiting(&first, &bell), second_ended = waiting(&second, &bell);
  first.answer(nullptr);
  bell.ring();
  ASSERT_EQ(first_ended.wait_for(kWait), std::future_status::ready);
  EXPECT_EQ(second_ended.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  second.answer(nullptr);
  bell.ring();
  ASSERT_EQ(second_ended.wait_for(kWait), std::future_status::ready);
}

TEST(Bell, DoesNotLetSleepWhoHasNotHeardOfTheLastRing) {
  Bell bell;
  const uint32_t before = bell.rung();
  bell.ring();
  EXPECT_NE(bell.rung(), before);
  auto slept = std::async(std::launch::async, [&] { bell.sleep(before); });
  EXPECT_EQ(slept.wait_for(kWait), std::future_status::ready);
}

}  // namespace
}  // namespace recblr
