#include "server/model/reloader.h"

#include <chrono>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

namespace recblr::server {

namespace {

constexpr double kPatience = 1;  // seconds to the next try where another reload is under way

}  // namespace

Reloader::Reloader(Models* models, std::string path, double interval)
    : models_(models), path_(std::move(path)), interval_(interval), target_(models->first_path()), thread_([this] {
        run();
      }) {}

Reloader::~Reloader() {
  stop();
  thread_.join();
}

void Reloader::request() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_requested_ = true;
  changed_.notify_all();
}

bool Reloader::stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
  return !is_at_work_;
}

void Reloader::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  bool is_refused = false;
  while (!is_stopped_) {
    const auto told = [this] { return is_stopped_ || is_requested_; };
    if (is_refused) {
      changed_.wait_for(lock, std::chrono::duration<double>(kPatience), [this] { return is_stopped_; });
    } else if (interval_ > 0) {
      changed_.wait_for(lock, std::chrono::duration<double>(interval_), told);
    } else {
      changed_.wait(lock, told);
    }
    if (is_stopped_) return;
    const bool is_requested = std::exchange(is_requested_, false);
    is_at_work_ = true;
    lock.unlock();
    const bool is_done = try_once(is_requested);
    lock.lock();
    is_at_work_ = false;
    is_refused = !is_done;
    is_requested_ = is_requested_ || is_refused;
  }
}

// False where it has to be tried again soon.
bool Reloader::try_once(bool is_requested) {
  try {
    if (is_requested) return reload();
    look();
    return true;
  } catch (const std::exception&) {  // no memory for paths
    return !is_requested;
  }
}

void Reloader::look() {
  std::error_code failed;
  const std::string target = std::filesystem::canonical(path_, failed).string();
  if (failed || target == target_) return;  // a link that leads nowhere is perhaps being replaced
  if (models_->current()->resolved_path == target || reload()) target_ = target;
}

// False where another one is under way.
bool Reloader::reload() {
  const Expected<ServedModelPtr> reloaded = models_->reload();
  if (reloaded) target_ = (*reloaded)->resolved_path;
  return reloaded || reloaded.error().status != Status::kOverloaded;
}

}  // namespace recblr::server
