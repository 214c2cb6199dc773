// Loads the first model while the server already listens.
#pragma once

#include <atomic>
#include <optional>
#include <thread>

#include "server/model/models.h"
#include "server/signals.h"

namespace recblr::server {

// In a thread of its own; `signals` are woken at the end.
class FirstLoad {
 public:
  FirstLoad(Models* models, Signals* signals);
  ~FirstLoad();  // waits
  bool has_ended() const { return has_ended_; }
  const std::optional<Failure>& failure() const { return failure_; }  // once it has ended

 private:
  std::optional<Failure> failure_;
  std::atomic<bool> has_ended_{false};
  std::thread thread_;
};

}  // namespace recblr::server
