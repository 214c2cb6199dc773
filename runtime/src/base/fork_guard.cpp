#include "base/fork_guard.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "base/error.h"

namespace recblr {

namespace {

// How many forks lie between the process that loaded the library and this one.
std::atomic<uint64_t> generation{0};

void count_fork() { generation.fetch_add(1, std::memory_order_relaxed); }

// Whether forks are counted from now on.
const bool counted = pthread_atfork(nullptr, nullptr, count_fork) == 0;

}  // namespace

ForkGuard::ForkGuard(const char* name)
    : name_(name), process_(getpid()), generation_(generation.load(std::memory_order_relaxed)) {}

bool ForkGuard::forked() const {
  if (counted) return generation.load(std::memory_order_relaxed) != generation_;
  return getpid() != process_;
}

void ForkGuard::check() const {
  if (!forked()) return;
  throw Error(Code::kFork, "the " + std::string(name_) + " was made in process " + std::to_string(process_) +
                               ", before this one was forked from it, and its threads stayed there: load the " + name_ +
                               " after the fork");
}

}  // namespace recblr
