// Reloads the model when told to, and when the link to it leads elsewhere.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "server/model/models.h"

namespace recblr::server {

// One thread, in which reloads run.
class Reloader {
 public:
  // Of models that are loaded, and outlive it. `path` is theirs; every `interval` seconds, or never where it is 0, it
  // looks where the links in it lead. A target that cannot be loaded, perhaps as it is still being copied, is tried
  // again after that time, then after twice as long, and so on up to a minute, until it is served or another model is
  // put in place meanwhile. `warn` gets a line for the log where `path` leads nowhere for two looks, once each time.
  Reloader(Models* models, std::string path, double interval, std::function<void(const std::string&)> warn);
  ~Reloader();  // waits for a reload under way
  // A reload soon, in any case.
  void request();
  // Begins no more reloads; whether none is under way.
  bool stop();

 private:
  using Clock = std::chrono::steady_clock;
  enum class Outcome { kDone, kFailed, kBusy };  // kBusy: another reload is under way

  void run();
  bool try_once(bool is_requested);
  void look();
  void leads_nowhere(const std::string& why);
  bool is_due(const std::string& target) const;
  Outcome reload();

  Models* const models_;
  const std::string path_;
  const double interval_;
  const std::function<void(const std::string&)> warn_;
  std::string target_;          // of the link, that was loaded, or tried, last
  bool has_failed_ = false;     // it was tried in vain, and
  double pause_ = 0;            // is tried again after so many seconds,
  Clock::time_point next_try_;  // then,
  int64_t served_version_ = 0;  // if this is still served
  int looks_nowhere_ = 0;       // one after the other
  std::mutex mutex_;            // of what follows
  std::condition_variable changed_;
  bool is_requested_ = false, is_stopped_ = false, is_at_work_ = false;
  std::thread thread_;
};

}  // namespace recblr::server
