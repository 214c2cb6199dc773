// What libgrpc and libprotobuf log.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace google::protobuf {
class LogSilencer;
}

namespace recblr::server {

// While it lives, libgrpc's errors are kept for take_last(), and from forward() on they are told; the rest goes
// nowhere. One at a time.
class LibraryLog {
 public:
  LibraryLog();
  ~LibraryLog();
  LibraryLog(const LibraryLog&) = delete;
  LibraryLog& operator=(const LibraryLog&) = delete;
  // To `warn`, or to stderr where there is none.
  void forward(std::function<void(const std::string&)> warn);
  // The last error's line, which is forgotten.
  std::string take_last();

 private:
  const std::unique_ptr<google::protobuf::LogSilencer> silencer_;
};

}  // namespace recblr::server
