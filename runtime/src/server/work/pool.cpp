#include "server/work/pool.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace recblr::server {

class Pool::Impl {
 public:
  Impl(int threads, int64_t max_queued) : max_queued_(max_queued) {
    try {
      for (int j = 0; j < threads; ++j) threads_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Impl() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  bool post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      const auto waiting = static_cast<int64_t>(tasks_.size()) - idle_;
      if (ending_ || waiting >= max_queued_) return false;
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
    return true;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      changed_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
      --idle_;
      if (tasks_.empty()) return;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;  // what it holds goes without the lock
      lock.lock();
    }
  }

  const int64_t max_queued_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  int64_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

Pool::Pool(int threads, int64_t max_queued) : impl_(std::make_unique<Impl>(threads, max_queued)) {}
Pool::~Pool() = default;
void Pool::stop() { impl_->stop(); }
bool Pool::post(std::function<void()> task) { return impl_->post(std::move(task)); }

}  // namespace recblr::server
