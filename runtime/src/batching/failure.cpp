#include "batching/failure.h"

#include <cstdio>
#include <new>

#include "base/text.h"

namespace recblr {

namespace {

constexpr size_t kLongestReason = 160;

std::string one_line(const char* text) {
  std::string line;
  bool space = false;
  for (; *text != '\0'; ++text) {
    if (*text == ' ' || (*text >= '\t' && *text <= '\r')) {
      space = !line.empty();
      continue;
    }
    if (space) line += ' ';
    space = false;
    line += *text;
  }
  if (line.size() <= kLongestReason) return line;
  size_t end = kLongestReason - 3;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0) == 0x80) --end;  // between characters of UTF-8
  return line.substr(0, end) + "...";
}

}  // namespace

std::exception_ptr no_memory() noexcept {
  // Made once, while there is memory: each batcher asks for it when it starts.
  static const std::exception_ptr error = std::make_exception_ptr(
      Error(Code::kOutOfMemory, "out of memory: send fewer rows or items at once, or use a machine with more"));
  return error;
}

std::exception_ptr failure(Code code, const char* message) noexcept {
  try {
    return std::make_exception_ptr(Error(code, message));
  } catch (...) {
    return no_memory();
  }
}

std::exception_ptr late(double seconds) noexcept {
  char message[120];
  std::snprintf(message, sizeof message,
                "the request waited %.3g s, longer than it may: allow more time, or send fewer requests", seconds);
  return failure(Code::kDeadline, message);
}

bool is_about_rows(const std::exception_ptr& thrown) noexcept {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error.code() != Code::kCancelled && error.code() != Code::kClosed && error.code() != Code::kFork;
  } catch (...) {
    return true;
  }
}

std::string short_reason(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return one_line(error.what());
  } catch (...) {
    return "an exception of an unknown type";
  }
}

std::exception_ptr explained(const std::exception_ptr& thrown) noexcept {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error&) {
    return thrown;
  } catch (const std::bad_alloc&) {
    return no_memory();
  } catch (...) {
    try {
      const std::string message = "the backend failed on this request (" + short_reason(thrown) +
                                  "): check its items and states; other requests are not affected";
      return failure(Code::kBackend, message.c_str());
    } catch (...) {
      return no_memory();
    }
  }
}

void check_timeout(double seconds, Code code) {
  if (!(seconds > 0)) refuse(code, "timeout is " + written(seconds) + ": give seconds above 0");
}

}  // namespace recblr
