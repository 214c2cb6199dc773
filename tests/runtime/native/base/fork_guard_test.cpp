#include "base/fork_guard.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/error.h"

namespace recblr {
namespace {

// 0 where the guard of a parent's object refuses as it should in this process, and one made here does not.
int refused(const ForkGuard& guard, const std::string& parent) {
  ForkGuard("store").check();
  if (!guard.forked()) return 2;
  try {
    guard.check();
  } catch (const Error& error) {
    const std::string expected = "the engine was made in process " + parent +
                                 ", before this one was forked from it, and its threads stayed there: load the engine "
                                 "after the fork";
    return error.code() == Code::kFork && error.what() == expected ? 0 : 3;
  }
  return 4;
}

TEST(ForkGuard, KnowsTheForksOfItsProcess) {
  const ForkGuard guard("engine");
  const std::string parent = std::to_string(getpid());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(refused(guard, parent));
    int status = 0;
    waitpid(grandchild, &status, 0);
    _exit(status != 0 ? 5 : refused(guard, parent));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(guard.forked());
  EXPECT_NO_THROW(guard.check());
}

}  // namespace
}  // namespace recblr
