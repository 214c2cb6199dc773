// The signals that a server is told by.
#pragma once

namespace recblr::server {

// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in those that it starts, and ignores SIGPIPE. Make it before any
// other thread.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Waits for the next one and gives its number; 0 where `wake` was called, or `timeout` seconds, negative: without
  // bound, have passed.
  int wait(double timeout);
  // Lets `wait` return, now or the next time. From any thread.
  void wake();

 private:
  int signals_, woken_;  // descriptors
};

}  // namespace recblr::server
