#include "backends/thread_team.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"

namespace recblr {
namespace {

// How often each of 100 units is called by in_parallel.
std::vector<int> calls(const ThreadTeam& team, int64_t threads) {
  std::vector<std::atomic<int>> counts(100);
  std::atomic<bool> workers_are_few{true};
  in_parallel(
      100, threads,
      [&](int64_t unit, int64_t worker) {
        ++counts[static_cast<size_t>(unit)];
        if (worker < 0 || worker >= threads) workers_are_few = false;
      },
      team.pool());
  EXPECT_TRUE(workers_are_few);
  return {counts.begin(), counts.end()};
}

TEST(ThreadTeam, DoesEachUnitOnce) {
  for (const int threads : {1, 2, 4}) {
    const ThreadTeam team(threads);
    for (int round = 0; round < 50; ++round) EXPECT_EQ(calls(team, threads), std::vector<int>(100, 1));
    EXPECT_EQ(calls(team, threads + 3), std::vector<int>(100, 1));
  }
}

TEST(ThreadTeam, ServesSeveralCallersAtOnce) {
  const ThreadTeam team(3);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) EXPECT_EQ(calls(team, 3), std::vector<int>(100, 1));
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(ThreadTeam, GivesAnErrorOfAnyThreadToTheCaller) {
  const ThreadTeam team(3);
  for (int64_t at = 0; at < 30; ++at) {
    const auto fails = [&](int64_t unit, int64_t) {
      if (unit == at) throw std::runtime_error("unit " + std::to_string(unit));
    };
    EXPECT_THROW(in_parallel(30, 3, fails, team.pool()), std::runtime_error);
  }
  EXPECT_EQ(calls(team, 3), std::vector<int>(100, 1));
}

TEST(ThreadTeam, WorksAloneInAFork) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer allows no threads after a fork";
#endif
  auto team = std::make_unique<ThreadTeam>(3);
  EXPECT_EQ(calls(*team, 3), std::vector<int>(100, 1));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool works = calls(*team, 3) == std::vector<int>(100, 1);
    team.reset();
    _exit(works ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(CheckedThreads, AreAtLeast1) {
  EXPECT_EQ(checked_threads(3), 3);
  try {
    checked_threads(0);
    FAIL() << "0 threads";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    EXPECT_STREQ(error.what(), "threads is 0: give a whole number of at least 1");
  }
}

}  // namespace
}  // namespace recblr
