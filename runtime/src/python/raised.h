// What Python code raised where the library had called it.
#pragma once

#include <nanobind/nanobind.h>

#include <deque>
#include <mutex>
#include <string>

#include "python/collected.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Remembers the latest exceptions by what they say, so that callers get them, with their causes, and not only their
// words.
class Raised {
 public:
  // Remembers an exception, and sets what recblr_last_error says: its own words with the status that stands for it, or
  // for one that is none of ours `otherwise` and `message`. What interrupts the caller, such as a KeyboardInterrupt,
  // becomes RECBLR_CANCELLED.
  recblr_status remember(nb::handle exception, recblr_status otherwise, const std::string& message);

  // The exception for a call that failed: the one remembered with these words, or caused by it.
  nb::object exception_of(recblr_status status, const std::string& message) const;

  // Whether there is one with these words.
  bool knows(const std::string& message) const;

  // Lets go of the exceptions.
  void forget();

  int visit(const Visitor& visitor) const;

 private:
  struct One {
    std::string message;  // as recblr_last_error says it
    nb::object exception;
    unsigned long thread;
    recblr_status otherwise;
  };

  mutable std::mutex mutex_;
  std::deque<One> latest_;  // the latest first
};

}  // namespace recblr::python
