// Item ids in any form that Python has for them, as rows for the C API.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Finds what converts arrays of other libraries; called when the module is imported.
void init_ids();

// Whether `value` is a list, a tuple, a set, an array with a dimension or the like; see recblr.item_ids.
bool is_sequence(nb::handle value);

// Whether `value` is a sequence with one dimension, such as a row of ids is.
bool is_row(nb::handle value);

// Whether `value` is one of NumPy's truth values.
bool is_numpy_flag(nb::handle value);

// The objects in a sequence, as a list or a tuple.
nb::object as_list(nb::handle sequence);

// The item at a place of a list or a tuple, which another thread may shorten meanwhile.
nb::object item_at(nb::handle list, Py_ssize_t place);

// Rows of ids. What is in them is copied; integers stay integers until a text comes along.
class IdRows {
 public:
  // `id_type` of the model that the ids are for: it decides what an integer of more than a hundred digits is.
  explicit IdRows(int32_t id_type) : id_type_(id_type) {}

  // Adds the ids of a list, a tuple, a set or an array with one dimension of any library; see `is_row`.
  void add_row(nb::handle row);
  void add_empty_row() { offsets_.push_back(count()); }

  // Adds one row for each in `rows`. None is an empty row where that is allowed. Raises RequestError, "histories is
  // ...", for what is no sequence of rows; `name` is for that.
  void add_rows(nb::handle rows, const char* name, bool none_allowed);

  int64_t n_rows() const { return static_cast<int64_t>(offsets_.size()) - 1; }

  // Valid until a row is added.
  recblr_ids view();

 private:
  int64_t count() const { return is_text_ ? static_cast<int64_t>(text_offsets_.size()) - 1 : n_integers(); }
  int64_t n_integers() const { return static_cast<int64_t>(integers_.size()); }
  void add_list(nb::handle list);
  bool add_array(nb::handle array);
  void add(nb::handle value);
  void add_integer(nb::handle value);
  void add_integer(int64_t value);
  void add_text(const char* text, size_t length);
  void add_stranger(nb::handle value);
  void become_text();
  template <typename Number>
  void add_numbers(const char* first, Py_ssize_t count, Py_ssize_t stride);

  int32_t id_type_;
  bool is_text_ = false;
  std::vector<int64_t> offsets_{0};
  std::vector<int64_t> integers_;
  std::string text_;
  std::vector<int64_t> text_offsets_;  // none as long as all are integers
  std::vector<recblr_strangers> strangers_;
  std::list<std::string> words_;  // of the strangers
};

}  // namespace recblr::python
