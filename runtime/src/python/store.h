// Stores of histories, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>

#include "python/raised.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

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

  recblr_store* handle() const { return handle_.get(); }
  // What a store written in Python raised; nullptr for the library's own.
  const Raised* raised() const { return raised_.get(); }

 private:
  struct Closing {
    void operator()(recblr_store* store) const;
  };

  std::shared_ptr<Raised> raised_;
  std::unique_ptr<recblr_store, Closing> handle_;
};

void bind_store(nb::module_& module);

}  // namespace recblr::python
