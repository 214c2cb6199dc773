// The interpreter's lock, given away while the library computes.
#pragma once

#include <nanobind/nanobind.h>

namespace recblr::python {

// Gives the lock away as long as it lives. As a thread that wants the lock back from an interpreter which ends is ended
// amid its C++ frames, those in here are waited for at exit; see `wait_for_released`.
class Released {
 public:
  Released();
  ~Released();
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

  // Whether a new one would raise ClosedError, as the interpreter ends.
  static bool is_ending();

 private:
  PyThreadState* state_;
};

// The same for a thread that has no such lock, and may want it later.
class Counted {
 public:
  Counted();
  ~Counted();
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
};

// For the end of the interpreter: waits until no thread is in a Released or a Counted, at most so many seconds. From
// then on a new one raises ClosedError.
void wait_for_released(double seconds);

}  // namespace recblr::python
