// What goes wrong, as one exception type: a code for programs and one line for people.
#pragma once

#include <stdexcept>
#include <string>

namespace recblr {

// The values are those of the status codes in recblr.h; Python has an exception for each.
enum class Code : int {
  kOk = 0,
  kInvalidArgument = 1,  // RequestError: a request that cannot be answered
  kConfig = 2,           // ConfigError: a setting out of its range
  kBundle = 3,           // BundleError: no bundle, or an incomplete or altered one
  kStore = 4,            // StoreError: a store that cannot be reached, is full or fails
  kOverloaded = 5,       // OverloadedError: refused, as too many wait; nothing of it was done
  kDeadline = 6,         // DeadlineError: its time ran out before it was answered
  kClosed = 7,           // ClosedError: what it was sent to is closed
  kBackend = 8,          // BackendError: what runs the model failed
  kFork = 9,             // ForkError: used in a process that was forked after it was made
  kOutOfMemory = 10,     // MemoryError
  kUnsupported = 11,     // this build or this machine cannot do it
  kCancelled = 12,       // the caller withdrew it
  kInternal = 13,        // a fault of this library
};

class Error : public std::runtime_error {
 public:
  // `message` is one line: what was wrong, with the value, and what to do.
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

[[noreturn]] inline void refuse(Code code, const std::string& message) { throw Error(code, message); }

}  // namespace recblr
