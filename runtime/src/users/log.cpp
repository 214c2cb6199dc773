#include "users/log.h"

#include <mutex>

namespace recblr {

namespace {

std::mutex mutex;
Logger logger = nullptr;
void* context = nullptr;

}  // namespace

void set_logger(Logger new_logger, void* new_context) {
  const std::lock_guard<std::mutex> lock(mutex);
  logger = new_logger;
  context = new_context;
}

void log(LogLevel level, const std::string& message) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (logger != nullptr) logger(context, static_cast<int>(level), message.c_str());
}

}  // namespace recblr
