// The Recommender, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>

#include "python/engine.h"
#include "python/store.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

class Recommender {
 public:
  // `engine` and `store` are objects of the classes above; `cache_bytes` may be 0.
  Recommender(nb::object engine, nb::object store, int64_t cache_bytes);

  bool add_event(nb::handle user, nb::handle items, nb::handle event_id);
  nb::list add_events(nb::handle events);  // of (user, items, event_id) each
  nb::list history(nb::handle user);
  bool forget(nb::handle user);
  // `exclude` and `only` are lists of one entry for each user; `only` may be an AllowList, and both None.
  nb::list recommend(nb::handle users, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only);
  nb::list recent_users(int64_t n) const;
  void swap(nb::object engine, int64_t rebuild, bool allow_id_type_change);
  void close();

 private:
  struct Closing {
    void operator()(recblr_recommender* recommender) const;
  };

  template <typename Call>
  void checked(const Call& call) const;  // with the interpreter's lock given away
  const Engine& engine() const { return nb::cast<const Engine&>(engine_); }
  const Store& store() const { return nb::cast<const Store&>(store_); }

  nb::object engine_, store_;
  std::unique_ptr<recblr_recommender, Closing> handle_;
};

// Has Python's logging tell what the library's logger is told.
void init_log();

void bind_recommender(nb::module_& module);

}  // namespace recblr::python
