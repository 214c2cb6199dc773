#include "backends/thread_team.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace recblr {

int checked_threads(int threads) {
  if (threads >= 1 && threads <= kMostThreads) return threads;
  refuse(Code::kConfig, "threads is " + std::to_string(threads) + ": give a whole number " +
                            (threads < 1 ? "of at least 1" : "of at most " + std::to_string(kMostThreads)));
}

struct ThreadTeam::Parts {
  std::mutex turn;   // held by the caller whose work it is
  std::mutex mutex;  // of all that follows
  std::condition_variable work, done;
  void (*task)(void* data, size_t index) = nullptr;
  void* data = nullptr;
  size_t wanted = 0;   // helpers that may still join
  size_t working = 0;  // helpers that have
  bool ends = false;
  std::vector<std::thread> helpers;
};

ThreadTeam::ThreadTeam(int threads) : parts_(std::make_unique<Parts>()) {
  try {
    for (int helper = 1; helper < threads; ++helper) parts_->helpers.emplace_back(help, parts_.get());
  } catch (const std::system_error&) {  // no more threads to be had
  }
}

ThreadTeam::~ThreadTeam() {
  if (guard_.forked()) {  // the helpers, which a destructor would wait for, are not there
    static_cast<void>(parts_.release());
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(parts_->mutex);
    parts_->ends = true;
  }
  parts_->work.notify_all();
  for (std::thread& helper : parts_->helpers) helper.join();
}

ThreadPool ThreadTeam::pool() const { return {run, parts_.get()}; }

void ThreadTeam::help(Parts* parts) {
  std::unique_lock<std::mutex> lock(parts->mutex);
  while (true) {
    parts->work.wait(lock, [&] { return parts->ends || parts->wanted > 0; });
    if (parts->ends) return;
    --parts->wanted;
    ++parts->working;
    const auto task = parts->task;
    void* const data = parts->data;
    lock.unlock();
    task(data, 1);
    lock.lock();
    if (--parts->working == 0) parts->done.notify_one();
  }
}

void ThreadTeam::run(const void* team, size_t n, void (*task)(void* data, size_t index), void* data) {
  Parts* const parts = const_cast<Parts*>(static_cast<const Parts*>(team));
  const std::unique_lock<std::mutex> turn(parts->turn, std::try_to_lock);
  if (!turn.owns_lock() || n <= 1) return task(data, 0);
  {
    const std::lock_guard<std::mutex> lock(parts->mutex);
    parts->task = task;
    parts->data = data;
    parts->wanted = std::min(n - 1, parts->helpers.size());
  }
  parts->work.notify_all();
  task(data, 0);
  std::unique_lock<std::mutex> lock(parts->mutex);
  parts->wanted = 0;  // whoever did not wake up in time has nothing left to do
  parts->done.wait(lock, [&] { return parts->working == 0; });
}

}  // namespace recblr
