// Writes lines to a descriptor, without those who give them waiting for it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace recblr::server {

// Threads may share it. At most a mebibyte waits; lines beyond it are dropped.
class LineWriter {
 public:
  explicit LineWriter(int file);
  ~LineWriter();  // what still waits is dropped: flush first
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  void add(std::string line);
  int64_t dropped() const;
  // Waits until all is written, or `timeout` seconds.
  void flush(double timeout);

 private:
  void run();
  bool write(const std::string& text);

  const int file_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::string waiting_;
  int64_t dropped_ = 0;
  bool is_writing_ = false, is_ending_ = false;
  std::thread thread_;
};

}  // namespace recblr::server
