// A store written in Python, for the library.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>

#include "python/collected.h"
#include "python/raised.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Calls an object with the methods of recblr.runtime.Store, and checks what it gives.
class PythonStore : public std::enable_shared_from_this<PythonStore> {
 public:
  explicit PythonStore(nb::object store);

  // What recblr_store_create takes; the context keeps this until it is released.
  recblr_store_callbacks callbacks(int64_t max_history);

  // What its methods raised.
  const Raised& raised() const { return raised_; }

  // For the garbage collection of the Store, whose this is: see Collected. Once it is cleared, calls say that the store
  // is closed.
  int visit(const Visitor& visitor) const;
  void clear();

 private:
  template <typename Call>
  static recblr_status guarded(void* context, const Call& call);
  void append(nb::handle store, const recblr_event* events, int64_t n, uint8_t* added) const;
  static void read(nb::handle store, const recblr_id* users, const int64_t* since, int64_t n, recblr_events* events);
  static void add_log(nb::handle log, const recblr_id& user, int64_t number, recblr_events* events);

  nb::object store_, append_class_;
  Raised raised_;
};

}  // namespace recblr::python
