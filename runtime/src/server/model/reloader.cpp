#include "server/model/reloader.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

namespace recblr::server {

namespace {

constexpr double kPatience = 1;  // seconds to the next try where another reload is under way
constexpr double kLongestPause = 60;

}  // namespace

Reloader::Reloader(Models* models, std::string path, double interval, std::function<void(const std::string&)> warn)
    : models_(models),
      path_(std::move(path)),
      interval_(interval),
      warn_(std::move(warn)),
      target_(models->first_path()),
      thread_([this] { run(); }) {}

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
    if (is_requested) return reload() != Outcome::kBusy;
    look();
    return true;
  } catch (const std::exception&) {  // no memory for paths
    return !is_requested;
  }
}

void Reloader::look() {
  std::error_code failed;
  const std::string target = std::filesystem::canonical(path_, failed).string();
  if (failed) return leads_nowhere(failed.message());
  looks_nowhere_ = 0;
  if (!is_due(target)) return;
  const ServedModelPtr current = models_->current();
  const bool is_served = current->resolved_path == target;
  const Outcome outcome = is_served ? Outcome::kDone : reload();
  if (outcome == Outcome::kBusy) return;
  const bool is_again = has_failed_ && target == target_;
  has_failed_ = outcome == Outcome::kFailed;
  target_ = target;
  served_version_ = current->version;
  pause_ = is_again ? std::max(interval_, std::min(2 * pause_, kLongestPause)) : interval_;
  next_try_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(pause_));
}

// A link that leads nowhere once is perhaps being replaced.
void Reloader::leads_nowhere(const std::string& why) {
  constexpr int kLooks = 2;
  if (looks_nowhere_ < kLooks && ++looks_nowhere_ == kLooks && warn_) {
    warn_("--engine, '" + path_ + "', leads nowhere: " + why + "; let it lead to a bundle: until then the model stays");
  }
}

bool Reloader::is_due(const std::string& target) const {
  if (target != target_) return true;
  // What was put in place since by hand stays.
  return has_failed_ && Clock::now() >= next_try_ && models_->current()->version == served_version_;
}

Reloader::Outcome Reloader::reload() {
  const Expected<ServedModelPtr> reloaded = models_->reload();
  if (reloaded) {
    target_ = (*reloaded)->resolved_path;
    has_failed_ = false;
    return Outcome::kDone;
  }
  return reloaded.error().status == Status::kOverloaded ? Outcome::kBusy : Outcome::kFailed;
}

}  // namespace recblr::server
