// A backend that waits, for tests of what happens meanwhile.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>

#include "recblr/recblr.hpp"

namespace recblr::server {

// Of a TinyBundle; it ranks nothing, and its runs wait while it is closed.
class Gate : public Backend {
 public:
  Expected<void> run(const recblr_backend_run& run) override {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
    std::memcpy(run.state_out, run.state_in, static_cast<size_t>(run.n_rows) * 16 * sizeof(float));
    std::fill_n(run.top_items, run.n_rows * run.k, 0);
    std::fill_n(run.top_scores, run.n_rows * run.k, -std::numeric_limits<float>::infinity());
    return {};
  }
  std::string description() const override { return "a gate"; }
  int64_t max_k() const override { return 6; }

  void open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = false;
    waiting_ = 0;
  }
  // `runs` of them since it was closed.
  void wait_for_a_run(int runs = 1) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this, runs] { return waiting_ >= runs; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = true;
  int waiting_ = 0;
};

}  // namespace recblr::server
