// Sees that a server that ends does end.
#pragma once

#include <atomic>
#include <thread>

#include "server/observe/observation.h"
#include "server/signals.h"

namespace recblr::server {

// From here until it is destroyed, a second signal, but one within a second, or the end of `timeout` seconds ends the
// process at once.
class EndGuard {
 public:
  EndGuard(Signals* signals, Observation* observation, double timeout);
  ~EndGuard();
  // All is answered: what ends the process from here on gives this status, and says nothing.
  void answered(int status) { status_ = status; }

 private:
  void watch(double timeout);

  Signals* const signals_;
  Observation* const observation_;
  std::atomic<bool> is_over_{false};
  std::atomic<int> status_{-1};  // none yet
  std::thread thread_;
};

}  // namespace recblr::server
