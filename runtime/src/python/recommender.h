// The Recommender, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "python/collected.h"
#include "python/engine.h"
#include "python/store.h"
#include "python/waiting.h"
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

  int visit(const Visitor& visitor) const;
  void clear();

 private:
  struct Adding;

  std::vector<uint8_t> add(const std::shared_ptr<Adding>& adding);
  // Makes a call that holds all it uses; `waits` tells whether it may wait for others.
  void make(bool waits, std::function<recblr_status()> call) const;
  void check(const Outcome& outcome, nb::handle engine) const;  // which may have failed
  const Engine& engine() const { return nb::cast<const Engine&>(engine_); }
  const Store& store() const { return nb::cast<const Store&>(store_); }

  nb::object engine_, store_;
  std::shared_ptr<recblr_recommender> handle_;
};

// Has Python's logging tell what the library's logger is told.
void init_log();

void bind_recommender(nb::module_& module);

}  // namespace recblr::python
