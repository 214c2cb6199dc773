// A backend written in Python, for the library.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>

#include "python/raised.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Hands runs to a Python object with `run(items, offsets, states, exclude, k)`, on arrays of their own.
class PythonBackend : public std::enable_shared_from_this<PythonBackend> {
 public:
  // Of an object that has the attributes of recblr.runtime.Backend; raises ConfigError for another one.
  PythonBackend(nb::object backend, int64_t state_size);

  // What recblr_engine_create takes; its context keeps this until it is released.
  recblr_backend description();

  // What `run` raised.
  Raised& raised() { return raised_; }

  // For the garbage collection of the engine, whose this is though a run may hold it, too: see Collected. Once it is
  // cleared, a run says that the engine is closed.
  int visit(const Visitor& visitor) const;
  void clear();

 private:
  static recblr_status run_in_python(void* context, const recblr_backend_run* run);
  static void release(void* context);
  void run(nb::handle backend, const recblr_backend_run& run) const;
  recblr_status remember(nb::handle exception);

  nb::object backend_;
  int64_t state_size_;
  std::string description_;
  Raised raised_;
};

}  // namespace recblr::python
