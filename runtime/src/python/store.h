// Stores of histories, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>

#include "python/collected.h"
#include "python/raised.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

class PythonStore;

class Store {
 public:
  // `where` as recblr_store_open takes it; `max_history` is 0 for all.
  Store(const std::string& where, int64_t max_history, const std::string& synchronous, const std::string& prefix);
  // A store written in Python: an object with the methods of recblr.runtime.Store.
  Store(nb::object store, int64_t max_history);

  // Of (user, items, event_id) each.
  nb::list append(nb::handle events);
  // [B] lists of (seq, stamp, items).
  nb::list read(nb::handle users, nb::handle since);
  bool forget(nb::handle user);
  void close();

  const std::shared_ptr<recblr_store>& handle() const { return handle_; }
  // Whether a call may wait for others, and nothing of Python's is called meanwhile: for those who write to the same
  // file, or for a server. Not for those who write where it only reads a file.
  bool waits_to_write() const { return waits_to_write_; }
  bool waits_to_read() const { return waits_to_read_; }
  // What a store written in Python raised; nullptr for the library's own.
  const Raised* raised() const;

  int visit(const Visitor& visitor) const;
  void clear();

 private:
  std::shared_ptr<PythonStore> python_store_;  // or none
  bool waits_to_write_ = false, waits_to_read_ = false;
  std::shared_ptr<recblr_store> handle_;
};

void bind_store(nb::module_& module);

}  // namespace recblr::python
