// Who is told what no status can carry; a part of recblr.hpp.
#ifndef RECBLR_LOG_HPP_
#define RECBLR_LOG_HPP_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "recblr/expected.hpp"
#include "recblr/recblr.h"

namespace recblr {
inline namespace RECBLR_CLIENT {

enum class LogLevel : int32_t {
  kInfo = RECBLR_LOG_INFO,
  kWarning = RECBLR_LOG_WARNING,
};

using Logger = std::function<void(LogLevel level, std::string_view message)>;

namespace detail {

inline void call_logger(void* context, int32_t level, const char* message) noexcept {
  (*static_cast<Logger*>(context))(static_cast<LogLevel>(level), message);
}

}  // namespace detail

// The logger for the whole process: called from any thread, one call at a time; it must not set the logger, nor throw.
// An empty one for nobody, which is so at first. Returns when the former one is not called any more.
inline Expected<void> try_set_logger(Logger logger) {
  static std::mutex mutex;
  static auto* const current = new std::unique_ptr<Logger>;  // which outlives all threads that may call it
  auto next = logger ? std::make_unique<Logger>(std::move(logger)) : nullptr;
  const std::lock_guard<std::mutex> lock(mutex);
  const recblr_status status = recblr_set_logger(next ? detail::call_logger : nullptr, next.get());
  if (status != RECBLR_OK) return detail::last_failure(status);
  current->swap(next);
  return {};
}
#if defined(__cpp_exceptions)
inline void set_logger(Logger logger) { detail::value_or_throw(try_set_logger(std::move(logger))); }
#endif

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_LOG_HPP_
