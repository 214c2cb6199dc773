// Reloads the model when told to, and when the link to it leads elsewhere.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "server/model/models.h"

namespace recblr::server {

// One thread, in which reloads run.
class Reloader {
 public:
  // Of models that are loaded, and outlive it. `path` is theirs; every `interval` seconds, or never where it is 0, it
  // looks where the links in it lead. A target that cannot be loaded is tried once.
  Reloader(Models* models, std::string path, double interval);
  ~Reloader();  // waits for a reload under way
  // A reload soon, in any case.
  void request();
  // Begins no more reloads; whether none is under way.
  bool stop();

 private:
  void run();
  bool try_once(bool is_requested);
  void look();
  bool reload();

  Models* const models_;
  const std::string path_;
  const double interval_;
  std::string target_;  // of the link, that was loaded, or tried, last
  std::mutex mutex_;    // of what follows
  std::condition_variable changed_;
  bool is_requested_ = false, is_stopped_ = false, is_at_work_ = false;
  std::thread thread_;
};

}  // namespace recblr::server
