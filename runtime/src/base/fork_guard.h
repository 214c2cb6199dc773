// A clear error where a forked process uses what only its parent can.
#pragma once

#include <cstdint>

namespace recblr {

// Knows the process that an object belongs to. Costs a few nanoseconds, no system call.
class ForkGuard {
 public:
  // `name` of the object is for the message and must outlive it: "engine".
  explicit ForkGuard(const char* name);
  // Throws Error(kFork) in a fork of the process, where the threads, locks and connections of the parent do not work:
  // "the engine was made in process 1, before this one was forked from it, and its threads stayed there: load the
  // engine after the fork".
  void check() const;
  // Whether this is a fork: destructors then leave threads and connections alone.
  bool forked() const;

 private:
  const char* name_;
  int64_t process_;
  uint64_t generation_;
};

}  // namespace recblr
