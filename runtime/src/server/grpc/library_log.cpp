#include "server/grpc/library_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <cstdio>
#include <mutex>
#include <utility>

namespace recblr::server {
namespace {

// libgrpc's callback has no argument of ours.
struct Sink {
  std::mutex mutex;
  std::function<void(const std::string&)> warn;
  std::string last;
};

Sink& sink() {
  static Sink* const made = new Sink;  // threads of libgrpc may log until the process ends
  return *made;
}

void log(gpr_log_func_args* args) {
  if (args->severity < GPR_LOG_SEVERITY_ERROR) return;
  std::function<void(const std::string&)> warn;
  {
    const std::lock_guard<std::mutex> lock(sink().mutex);
    sink().last = args->message;
    warn = sink().warn;
  }
  if (warn) warn(args->message);
}

}  // namespace

LibraryLog::LibraryLog() : silencer_(std::make_unique<google::protobuf::LogSilencer>()) {
  {
    const std::lock_guard<std::mutex> lock(sink().mutex);
    sink().warn = nullptr;
  }
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  gpr_set_log_function(log);
}

LibraryLog::~LibraryLog() {
  const std::lock_guard<std::mutex> lock(sink().mutex);
  sink().warn = nullptr;
}

void LibraryLog::forward(std::function<void(const std::string&)> warn) {
  if (!warn) warn = [](const std::string& message) { std::fprintf(stderr, "gRPC: %s\n", message.c_str()); };
  const std::lock_guard<std::mutex> lock(sink().mutex);
  sink().warn = std::move(warn);
}

std::string LibraryLog::take_last() {
  const std::lock_guard<std::mutex> lock(sink().mutex);
  return std::exchange(sink().last, {});
}

}  // namespace recblr::server
