// Sees that a server that ends does end.
#pragma once

#include <atomic>
#include <future>
#include <thread>

#include "server/observe/observation.h"
#include "server/signals.h"

namespace recblr::server {

// From arm() until it is destroyed, a second signal, but one within a second, or the end of `timeout` seconds ends the
// process at once.
class EndGuard {
 public:
  // Starts its thread, which sleeps until then: at the end there may be none to be had.
  EndGuard(Signals* signals, Observation* observation);
  ~EndGuard();
  // Called once.
  void arm(double timeout);
  // All is answered: what ends the process from here on gives this status, and says nothing.
  void answered(int status) { status_ = status; }

 private:
  void watch();

  Signals* const signals_;
  Observation* const observation_;
  std::atomic<bool> is_over_{false};
  std::atomic<int> status_{-1};  // none yet
  bool is_armed_ = false;
  std::promise<double> timeout_;
  std::thread thread_;
};

}  // namespace recblr::server
