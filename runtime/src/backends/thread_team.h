// Threads that help with one piece of work at a time.
#pragma once

#include <memory>

#include "base/fork_guard.h"
#include "cpu/parallel.h"

namespace recblr {

constexpr int kMostThreads = 1024;  // of one run

// The number of threads of one run, as it is; throws Error(kConfig) below 1 or above kMostThreads.
int checked_threads(int threads);

// Sleeps while there is no work. Handing it work takes no memory from the heap. Threads may share it: while it works
// for one, another does its work alone. In a fork of the process there are no helpers, and the caller does all.
class ThreadTeam {
 public:
  // For work of `threads` threads, its caller's among them. Fewer where the system gives no more.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  // For `in_parallel`. Valid as long as this object.
  ThreadPool pool() const;

 private:
  struct Parts;
  static void help(Parts* parts);
  static void run(const void* parts, size_t n, void (*task)(void* data, size_t index), void* data);

  ForkGuard guard_{"thread team"};
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
