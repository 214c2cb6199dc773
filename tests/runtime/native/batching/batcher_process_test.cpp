// A batcher's threads in their process: signals, names, forks.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batching/batcher.h"
#include "batching/fakes.h"

namespace recblr {
namespace {

// Notes what the thread that runs it is.
class ThreadBackend : public FakeBackend {
 public:
  void run(const Row* rows, int64_t n_rows) const override {
    pthread_getname_np(pthread_self(), name, sizeof name);
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    FakeBackend::run(rows, n_rows);
  }
  mutable char name[16] = "";
  mutable sigset_t blocked;
};

TEST(BatcherProcess, WorkersHaveNamesAndBlockSignalsButThoseOfFaults) {
  const auto backend = std::make_shared<ThreadBackend>();
  Batcher batcher(backend, kStateSize, small_settings());
  Asked asked(Lists{{1}});
  batcher.submit(asked.rows(), 1, asked.done());
  EXPECT_EQ(asked.wait(), "");
  EXPECT_STREQ(backend->name, "recblr-batch-0");
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGALRM}) EXPECT_EQ(sigismember(&backend->blocked, signal), 1);
  EXPECT_EQ(sigismember(&backend->blocked, SIGSEGV), 0);
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGINT), 0);
}

// 0 where the batcher of the parent refuses everything, and lets itself be closed and destroyed.
int used_in_a_fork(std::unique_ptr<Batcher> batcher, Asked* asked) {
  for (const auto& call :
       {std::function<void()>([&] { batcher->submit(asked->rows(), 1, asked->done()); }),
        std::function<void()>([&] { batcher->run(asked->rows(), 1); }),
        std::function<void()>([&] { batcher->cancel(1); }), std::function<void()>([&] { batcher->metrics(); })}) {
    const auto [message, code] = error_of(call);
    if (code != Code::kFork || message.find("the engine was made in process ") != 0) return 2;
  }
  batcher->close(true, std::nullopt);
  batcher.reset();
  return asked->is_told() ? 3 : 0;
}

TEST(BatcherProcess, AForkIsToldAndLeavesTheParentsThreadsAlone) {
  const auto backend = std::make_shared<FakeBackend>();
  auto batcher = std::make_unique<Batcher>(backend, kStateSize, small_settings(2));
  Asked asked(Lists{{1}}), after(Lists{{2}});
  batcher->submit(after.rows(), 1, after.done());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(used_in_a_fork(std::move(batcher), &asked));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(after.wait(), "");
}

}  // namespace
}  // namespace recblr
