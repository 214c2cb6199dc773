// Calls of the library that may take long, and Python's signals meanwhile.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "python/released.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Finds the main thread, in which Python's signal handlers run; called when the module is imported.
void init_waiting();
bool is_main_thread();

// What came of a call: its status, and what recblr_last_error said.
struct Outcome {
  recblr_status status = RECBLR_OK;
  std::string message;
};

// Makes a call without the interpreter's lock.
template <typename Call>
Outcome released(const Call& call) {
  Outcome outcome;
  const Released released;
  outcome.status = call();
  if (outcome.status != RECBLR_OK) outcome.message = recblr_last_error();
  return outcome;
}

// The same for a call that may wait for others. The main thread has another one make it, so that an interrupt ends the
// wait: then this throws, and the call, which must hold all that it uses, goes on to its end.
Outcome interruptible(std::function<recblr_status()> call);

// The same for a call that closes something, and is made while the interpreter ends, too.
Outcome closing(std::function<recblr_status()> call);

// How long a signal handler may have to wait.
constexpr std::chrono::milliseconds kSlice(50);

// Waits in the main thread until `is_done`, of which `changed` tells. Where a signal handler raises, calls `withdraw`
// without the interpreter's lock, and throws.
template <typename Withdraw>
void wait_for(std::mutex* mutex, std::condition_variable* changed, const bool* is_done, const Withdraw& withdraw) {
  for (;;) {
    {
      const Released released;
      std::unique_lock<std::mutex> lock(*mutex);
      if (changed->wait_for(lock, kSlice, [=] { return *is_done; })) return;
    }
    if (PyErr_CheckSignals() != 0) {
      nb::python_error interrupt;
      {
        const Released released;
        withdraw();
      }
      throw interrupt;
    }
  }
}

}  // namespace recblr::python
