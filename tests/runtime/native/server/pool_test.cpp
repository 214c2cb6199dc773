#include "server/work/pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>

#include "server/jam.h"

namespace recblr::server {
namespace {

TEST(Pool, RunsWhatWaitsBeforeItEnds) {
  std::atomic<int> n{0};
  {
    Pool pool(3, 1000);
    for (int j = 0; j < 1000; ++j) EXPECT_TRUE(pool.post([&n] { ++n; }));
  }
  EXPECT_EQ(n, 1000);
}

TEST(Pool, RefusesWhereTooManyWait) {
  std::atomic<int> n{0};
  {
    Pool pool(1, 2);
    const Jam jam(&pool, false);
    EXPECT_TRUE(pool.post([&n] { ++n; }));
    EXPECT_TRUE(pool.post([&n] { ++n; }));
    EXPECT_FALSE(pool.post([&n] { ++n; }));
  }
  EXPECT_EQ(n, 2);
}

TEST(Pool, StopsBeforeItsEnd) {
  std::atomic<int> n{0};
  Pool pool(1, 2);
  {
    const Jam jam(&pool, false);
    EXPECT_TRUE(pool.post([&n] { ++n; }));
  }
  pool.stop();
  EXPECT_EQ(n, 1);  // what waited has run
  EXPECT_FALSE(pool.post([&n] { ++n; }));
  pool.stop();
  EXPECT_EQ(n, 1);
}

TEST(Pool, LetsGoOfTasksThatAreDone) {
  Pool pool(1, 10);
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> seen = held;
  EXPECT_TRUE(pool.post([held = std::move(held)] {}));
  std::promise<void> later;
  EXPECT_TRUE(pool.post([&] { later.set_value(); }));
  later.get_future().wait();
  EXPECT_TRUE(seen.expired());
}

}  // namespace
}  // namespace recblr::server
