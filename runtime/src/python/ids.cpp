#include "python/ids.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <type_traits>

#include "python/errors.h"

namespace recblr::python {
namespace {

constexpr long kMostBits = 340;                    // of an integer of 100 digits
constexpr size_t kMostDigits = 100;                // of an integer that is an id
constexpr char kBeyond[] = "9223372036854775808";  // an integer that no model of integers knows

struct Names {
  nb::object is_sequence, as_list, array, generic, flag, floating, from_dlpack;
  std::array<PyObject*, 10> integers;  // NumPy's types of integers
};

// Never destroyed: the interpreter may be gone when that would happen.
Names* names = nullptr;

bool is_numpy_integer(nb::handle value) {
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(value.ptr()));
  for (PyObject* known : names->integers) {
    if (type == known) return true;
  }
  if (!nb::isinstance(value, names->generic)) return false;
  const std::string kind = utf8_of(value.attr("dtype").attr("kind"));
  return kind == "i" || kind == "u";
}

}  // namespace

void init_ids() {
  auto* found = new Names;
  nb::module_ item_ids = nb::module_::import_("recblr.item_ids"), numpy = nb::module_::import_("numpy");
  found->is_sequence = item_ids.attr("is_sequence");
  found->as_list = item_ids.attr("as_list");
  found->array = numpy.attr("ndarray");
  found->generic = numpy.attr("generic");
  found->flag = numpy.attr("bool_");
  found->floating = numpy.attr("floating");
  found->from_dlpack = numpy.attr("from_dlpack");
  const char* types[] = {"int8",  "int16",  "int32",  "int64",  "longlong",
                         "uint8", "uint16", "uint32", "uint64", "ulonglong"};
  for (size_t i = 0; i < found->integers.size(); ++i)
    found->integers[i] = nb::object(numpy.attr(types[i])).release().ptr();
  names = found;
}

bool is_sequence(nb::handle value) {
  return PyList_CheckExact(value.ptr()) || PyTuple_CheckExact(value.ptr()) || nb::cast<bool>(names->is_sequence(value));
}

bool is_row(nb::handle value) {
  if (PyList_CheckExact(value.ptr()) || PyTuple_CheckExact(value.ptr())) return true;
  if (!value.type().is(names->array) && !is_sequence(value)) return false;
  nb::object n_dims = nb::getattr(value, "ndim", nb::int_(1));
  return n_dims.equal(nb::int_(1));
}

bool is_numpy_flag(nb::handle value) { return nb::isinstance(value, names->flag); }

nb::object as_list(nb::handle sequence) {
  if (PyList_Check(sequence.ptr()) || PyTuple_Check(sequence.ptr())) return nb::borrow(sequence);
  nb::object listed = names->as_list(sequence);
  return PyList_Check(listed.ptr()) || PyTuple_Check(listed.ptr()) ? listed : nb::list(listed);
}

nb::object item_at(nb::handle list, Py_ssize_t place) {
  if (PyTuple_Check(list.ptr())) return nb::borrow(PyTuple_GetItem(list.ptr(), place));
#if defined(Py_GIL_DISABLED)
  PyObject* item = PyList_GetItemRef(list.ptr(), place);
#else
  PyObject* item = Py_XNewRef(PyList_GetItem(list.ptr(), place));
#endif
  if (item == nullptr) throw nb::python_error();
  return nb::steal(item);
}

void IdRows::add_rows(nb::handle rows, const char* name, bool none_allowed) {
  if (!is_sequence(rows)) {
    raise(RECBLR_INVALID_ARGUMENT,
          std::string(name) + " is " + shown(rows) + ": give one sequence of item ids per row");
  }
  const bool is_list = PyList_Check(rows.ptr()) || PyTuple_Check(rows.ptr());
  nb::object list = is_list ? nb::borrow(rows) : nb::list(rows);  // of an array's rows, not of their numbers
  for (Py_ssize_t b = 0; b < PySequence_Size(list.ptr()); ++b) {
    nb::object row = item_at(list, b);
    if (none_allowed && row.is_none()) {
      add_empty_row();
    } else if (is_row(row)) {
      add_row(row);
    } else {
      raise(RECBLR_INVALID_ARGUMENT, std::string(name) + "[" + std::to_string(b) + "] is " + shown(row) +
                                         ": give a sequence of item ids per row");
    }
  }
}

// As `reserve`, which alone would copy all that is there for each of many rows.
template <typename Value>
static void make_room(size_t count, std::vector<Value>* values) {
  const size_t needed = values->size() + count;
  if (needed > values->capacity()) values->reserve(std::max(needed, 2 * values->capacity()));
}

void IdRows::add_row(nb::handle row) {
  if (PyList_CheckExact(row.ptr()) || PyTuple_CheckExact(row.ptr())) {
    add_list(row);
  } else if (!add_array(row)) {
    add_list(as_list(row));
  }
  add_empty_row();  // what was added since the last one is the row
}

void IdRows::add_list(nb::handle list) {
  const Py_ssize_t size = PySequence_Size(list.ptr());
  if (is_text_) {
    make_room(static_cast<size_t>(size), &text_offsets_);
  } else {
    make_room(static_cast<size_t>(size), &integers_);
  }
  for (Py_ssize_t i = 0; i < PySequence_Size(list.ptr()); ++i) add(item_at(list, i));
}

// Adds the integers of an array, if it is one of integers that are all there.
bool IdRows::add_array(nb::handle array) {
  nb::object view;                      // in NumPy
  if (array.type().is(names->array)) {  // no subclass: what a masked array masks is no id
    view = nb::borrow(array);
  } else if (!nb::isinstance(array, names->array)) {
    const bool is_column = nb::hasattr(array, "to_numpy");  // of pandas, polars, Arrow
    if (!is_column && !nb::hasattr(array, "__dlpack__")) return false;
    try {
      view = is_column ? array.attr("to_numpy")() : names->from_dlpack(array);
    } catch (nb::python_error& error) {  // on a GPU, or with missing values
      if (!error.matches(PyExc_Exception)) throw;
      return false;
    }
  }
  if (!view.is_valid() || !view.type().is(names->array)) return false;
  Py_buffer buffer;
  if (PyObject_GetBuffer(view.ptr(), &buffer, PyBUF_FORMAT | PyBUF_STRIDES) != 0) {
    PyErr_Clear();  // dates have none
    return false;
  }
  bool added = buffer.ndim == 1 && buffer.format != nullptr && std::strlen(buffer.format) == 1;
  if (added) {
    const char* first = static_cast<const char*>(buffer.buf);
    const Py_ssize_t count = buffer.shape[0], stride = buffer.strides[0];
    switch (*buffer.format) {
      case 'b':
        add_numbers<signed char>(first, count, stride);
        break;
      case 'h':
        add_numbers<short>(first, count, stride);
        break;
      case 'i':
        add_numbers<int>(first, count, stride);
        break;
      case 'l':
        add_numbers<long>(first, count, stride);
        break;
      case 'q':
        add_numbers<long long>(first, count, stride);
        break;
      case 'B':
        add_numbers<unsigned char>(first, count, stride);
        break;
      case 'H':
        add_numbers<unsigned short>(first, count, stride);
        break;
      case 'I':
        add_numbers<unsigned int>(first, count, stride);
        break;
      case 'L':
        add_numbers<unsigned long>(first, count, stride);
        break;
      case 'Q':
        add_numbers<unsigned long long>(first, count, stride);
        break;
      default:
        added = false;
    }
  }
  PyBuffer_Release(&buffer);
  return added;
}

template <typename Number>
void IdRows::add_numbers(const char* first, Py_ssize_t count, Py_ssize_t stride) {
  const auto number_at = [&](Py_ssize_t i) {
    Number number;
    std::memcpy(&number, first + i * stride, sizeof number);
    return number;
  };
  if (!is_text_) make_room(static_cast<size_t>(count), &integers_);
  for (Py_ssize_t i = 0; i < count; ++i) {
    const Number number = number_at(i);
    if (std::is_unsigned_v<Number> && static_cast<uint64_t>(number) > std::numeric_limits<int64_t>::max()) {
      const std::string digits = std::to_string(number);
      add_text(digits.data(), digits.size());
    } else {
      add_integer(static_cast<int64_t>(number));
    }
  }
}

void IdRows::add(nb::handle value) {
  PyObject* object = value.ptr();
  if (PyLong_CheckExact(object)) {
    add_integer(value);
  } else if (PyUnicode_Check(object)) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text != nullptr) {
      add_text(text, static_cast<size_t>(size));
    } else {  // it holds surrogates
      PyErr_Clear();
      const std::string utf8 = utf8_of(value);
      add_text(utf8.data(), utf8.size());
    }
  } else if ((PyLong_Check(object) && !PyBool_Check(object)) || is_numpy_integer(value)) {
    nb::object number = nb::steal(PyNumber_Long(object));
    if (!number.is_valid()) throw nb::python_error();
    add_integer(number);
  } else {
    add_stranger(value);
  }
}

// `value` is a Python integer.
void IdRows::add_integer(nb::handle value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow == 0) {
    add_integer(static_cast<int64_t>(number));
    return;
  }
  if (nb::cast<long>(value.attr("bit_length")()) <= kMostBits) {
    const std::string digits = utf8_of(nb::str(value));
    if (digits.size() - (digits[0] == '-' ? 1 : 0) <= kMostDigits) {
      add_text(digits.data(), digits.size());
      return;
    }
  }
  if (id_type_ == RECBLR_INTEGER_IDS) {
    add_text(kBeyond, sizeof kBeyond - 1);
  } else {
    add_stranger(value);
  }
}

void IdRows::add_integer(int64_t value) {
  if (!is_text_) {
    integers_.push_back(value);
    return;
  }
  char digits[24];
  const char* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  text_.append(digits, static_cast<size_t>(end - digits));
  text_offsets_.push_back(static_cast<int64_t>(text_.size()));
}

void IdRows::add_text(const char* text, size_t length) {
  if (!is_text_) become_text();
  text_.append(text, length);
  text_offsets_.push_back(static_cast<int64_t>(text_.size()));
}

void IdRows::become_text() {
  is_text_ = true;
  text_offsets_.reserve(integers_.capacity() + 1);
  text_offsets_.push_back(0);
  for (const int64_t value : integers_) add_integer(value);
  integers_.clear();
}

void IdRows::add_stranger(nb::handle value) {
  const int64_t row = n_rows();  // of which this is a part
  if (!strangers_.empty() && strangers_.back().row == row) {
    ++strangers_.back().count;
    return;
  }
  const char* advice = nullptr;
  if (PyFloat_Check(value.ptr()) || nb::isinstance(value, names->floating)) {
    advice = "whole numbers, by .astype(\"int64\"); a missing value makes pandas turn integers into floats";
  } else if (PyBytes_Check(value.ptr())) {
    advice = "text, as bytes have to be decoded";
  }
  const char* text = words_.emplace_back(shown(value)).c_str();
  const char* type = words_.emplace_back(name_of_type(value)).c_str();
  strangers_.push_back({row, 1, count() - offsets_.back(), text, type, advice});
}

recblr_ids IdRows::view() {
  recblr_ids ids{};
  ids.type = is_text_ ? RECBLR_STRING_IDS : RECBLR_INTEGER_IDS;
  ids.n_rows = n_rows();
  ids.offsets = offsets_.data();
  ids.integers = integers_.data();
  ids.text = text_.data();
  ids.text_offsets = text_offsets_.data();
  ids.strangers = strangers_.data();
  ids.n_strangers = static_cast<int64_t>(strangers_.size());
  return ids;
}

}  // namespace recblr::python
