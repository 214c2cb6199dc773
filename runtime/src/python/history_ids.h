// Ids of users, events and items in histories, to and from Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <vector>

#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Ids, copied.
class HistoryIds {
 public:
  // Adds an integer or a string, Python's or NumPy's; raises RequestError for anything else. `name` is for that, with
  // `index` behind it where that is not negative.
  void add(nb::handle value, const char* name, int64_t index = -1);
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  // Valid until one is added.
  const recblr_id* ids();

 private:
  bool add_plain(nb::handle value);
  void add_text(int32_t type, const char* text, size_t length);

  std::vector<recblr_id> ids_;
  std::vector<size_t> begins_;  // of their texts, or none
  std::string text_;
};

// Events that a user or many have, copied.
class NewEvents {
 public:
  // Raises RequestError for ids and rows that are none.
  void add(nb::handle user, nb::handle items, nb::handle event_id);
  // A sequence of (user, items, event_id) each.
  void add_all(nb::handle events);
  int64_t size() const { return static_cast<int64_t>(places_.size()); }
  // Valid until one is added.
  const recblr_event* events();

 private:
  struct Place {
    int64_t user, n_items;  // in ids_: the user, the items, the event's id where it has one
    bool has_id;
  };
  HistoryIds ids_;
  std::vector<Place> places_;
  std::vector<recblr_event> events_;
};

nb::object object_of(const recblr_id& id);
nb::list list_of(const recblr_id* ids, int64_t n);

}  // namespace recblr::python
