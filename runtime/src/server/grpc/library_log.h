// What libgrpc and libprotobuf log.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace google::protobuf {
class LogSilencer;
}

namespace recblr::server {

// While it lives, libgrpc's errors go to `warn`, or to stderr where there is none; the rest goes nowhere. One at a
// time.
class LibraryLog {
 public:
  explicit LibraryLog(std::function<void(const std::string&)> warn);
  ~LibraryLog();
  LibraryLog(const LibraryLog&) = delete;
  LibraryLog& operator=(const LibraryLog&) = delete;
  // The last error's line, which is forgotten.
  std::string take_last();

 private:
  const std::unique_ptr<google::protobuf::LogSilencer> silencer_;
};

}  // namespace recblr::server
