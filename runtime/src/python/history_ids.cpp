#include "python/history_ids.h"

#include "python/errors.h"
#include "python/ids.h"

namespace recblr::python {
namespace {

constexpr size_t kNoText = SIZE_MAX;

// What takes ids of all types, and refuses what is none. Found when it is first needed, as it needs this module.
nb::object check_id() { return nb::module_::import_("recblr.runtime.users.stores.base").attr("check_id"); }

}  // namespace

void HistoryIds::add(nb::handle value, const char* name, int64_t index) {
  if (add_plain(value)) return;
  const std::string number = index < 0 ? "" : "[" + std::to_string(index) + "]";
  nb::object checked = check_id()(value, nb::str((name + number).c_str()));
  if (add_plain(checked)) return;
  const std::string digits = utf8_of(nb::str(checked));  // beyond 64 bits
  add_text(RECBLR_INTEGER_IDS, digits.data(), digits.size());
}

// Adds what most ids are: an int of 64 bits, or a str that is valid Unicode.
bool HistoryIds::add_plain(nb::handle value) {
  if (PyLong_CheckExact(value.ptr())) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (overflow != 0) return false;
    begins_.push_back(kNoText);
    ids_.push_back({RECBLR_INTEGER_IDS, number, nullptr, 0});
    return true;
  }
  if (!PyUnicode_CheckExact(value.ptr())) return false;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    return false;
  }
  add_text(RECBLR_STRING_IDS, text, static_cast<size_t>(size));
  return true;
}

void HistoryIds::add_text(int32_t type, const char* text, size_t length) {
  begins_.push_back(text_.size());
  text_.append(text, length);
  ids_.push_back({type, 0, nullptr, static_cast<int64_t>(length)});
}

const recblr_id* HistoryIds::ids() {
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (begins_[i] != kNoText) ids_[i].text = text_.data() + begins_[i];
  }
  return ids_.data();
}

void NewEvents::add(nb::handle user, nb::handle items, nb::handle event_id) {
  if (!is_row(items)) {
    raise(RECBLR_INVALID_ARGUMENT, "items is " + shown(items) + ": give a sequence of item ids");
  }
  nb::object list = as_list(items);
  const int64_t first = ids_.size();
  ids_.add(user, "user");
  for (Py_ssize_t i = 0; i < PySequence_Size(list.ptr()); ++i) ids_.add(item_at(list, i), "items", i);
  const int64_t n_items = ids_.size() - first - 1;
  if (!event_id.is_none()) ids_.add(event_id, "event_id");
  places_.push_back({first, n_items, !event_id.is_none()});
}

void NewEvents::add_all(nb::handle events) {
  if (!is_sequence(events)) {
    raise(RECBLR_INVALID_ARGUMENT, "events is " + shown(events) + ": give a sequence of events");
  }
  nb::object list = as_list(events);
  for (Py_ssize_t j = 0; j < PySequence_Size(list.ptr()); ++j) {
    nb::object event = item_at(list, j);
    if (!PyTuple_Check(event.ptr()) || PyTuple_Size(event.ptr()) != 3) {
      raise(RECBLR_INVALID_ARGUMENT,
            "events[" + std::to_string(j) + "] is " + shown(event) + ": give an Append of user, items and event_id");
    }
    add(item_at(event, 0), item_at(event, 1), item_at(event, 2));
  }
}

const recblr_event* NewEvents::events() {
  const recblr_id* ids = ids_.ids();
  events_.clear();
  for (const Place& place : places_) {
    const recblr_id* items = ids + place.user + 1;
    events_.push_back({ids[place.user], items, place.n_items, place.has_id ? items + place.n_items : nullptr});
  }
  return events_.data();
}

nb::object object_of(const recblr_id& id) {
  if (id.type == RECBLR_STRING_IDS) return text_of(id.text, static_cast<size_t>(id.length));
  if (id.text == nullptr) return nb::int_(id.integer);
  const std::string digits(id.text, static_cast<size_t>(id.length));
  nb::object number = nb::steal(PyLong_FromString(digits.c_str(), nullptr, 10));
  if (!number.is_valid()) throw nb::python_error();
  return number;
}

nb::list list_of(const recblr_id* ids, int64_t n) {
  nb::list list;
  for (int64_t i = 0; i < n; ++i) list.append(object_of(ids[i]));
  return list;
}

}  // namespace recblr::python
