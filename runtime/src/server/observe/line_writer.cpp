#include "server/observe/line_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

namespace recblr::server {

namespace {

constexpr size_t kMostBytes = 1 << 20;
constexpr int kPatience = 100;  // milliseconds of one wait

}  // namespace

LineWriter::LineWriter(int file) : file_(file), thread_([this] { run(); }) {}

LineWriter::~LineWriter() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void LineWriter::add(std::string line) {
  line += '\n';
  const std::lock_guard<std::mutex> lock(mutex_);
  if (waiting_.size() + line.size() > kMostBytes) {
    ++dropped_;
    return;
  }
  waiting_ += line;
  changed_.notify_all();
}

int64_t LineWriter::dropped() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return dropped_;
}

void LineWriter::flush(double timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(timeout), [this] { return waiting_.empty() && !is_writing_; });
}

void LineWriter::run() {
  std::string taken;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
    if (is_ending_) return;
    taken.swap(waiting_);
    is_writing_ = true;
    lock.unlock();
    const bool is_written = write(taken);
    const int64_t lines = is_written ? 0 : std::count(taken.begin(), taken.end(), '\n');
    taken.clear();
    lock.lock();
    dropped_ += lines;
    is_writing_ = false;
    changed_.notify_all();
  }
}

// Never more at once than a pipe that is ready takes without waiting, so that this thread can always be ended.
bool LineWriter::write(const std::string& text) {
  size_t at = 0;
  while (at < text.size()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (is_ending_) return false;
    }
    pollfd ready{file_, POLLOUT, 0};
    const int polled = poll(&ready, 1, kPatience);
    if (polled == 0 || (polled < 0 && errno == EINTR)) continue;
    if (polled < 0) return false;
    const ssize_t written = ::write(file_, text.data() + at, std::min<size_t>(text.size() - at, PIPE_BUF));
    if (written > 0) {
      at += static_cast<size_t>(written);
    } else if (errno != EINTR && errno != EAGAIN) {
      return false;  // closed, or full
    }
  }
  return true;
}

}  // namespace recblr::server
