#include "python/arrays.h"

#include <array>
#include <cstring>

namespace recblr::python {
namespace {

constexpr size_t kSizes[] = {4, 8, 4};

struct Names {
  nb::object empty, ascontiguousarray;
  std::array<nb::object, 3> types;
};

// Never destroyed: the interpreter may be gone when that would happen.
Names* names = nullptr;

nb::object type_of(NumberType type) { return names->types[static_cast<size_t>(type)]; }

}  // namespace

void init_arrays() {
  nb::module_ numpy = nb::module_::import_("numpy");
  auto* found = new Names;
  found->empty = numpy.attr("empty");
  found->ascontiguousarray = numpy.attr("ascontiguousarray");
  const char* types[] = {"int32", "int64", "float32"};
  for (size_t i = 0; i < found->types.size(); ++i) found->types[i] = numpy.attr("dtype")(types[i]);
  names = found;
}

ArrayView::ArrayView(nb::handle value, NumberType type) {
  nb::object array = names->ascontiguousarray(value, type_of(type));
  if (PyObject_GetBuffer(array.ptr(), &buffer_, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
}

int64_t ArrayView::count() const {
  int64_t product = 1;
  for (int d = 0; d < n_dims(); ++d) product *= size(d);
  return product;
}

nb::object empty_array(NumberType type, void** numbers, int64_t n, int64_t m) {
  nb::object array = m < 0 ? names->empty(n, type_of(type)) : names->empty(nb::make_tuple(n, m), type_of(type));
  Py_buffer buffer;
  if (PyObject_GetBuffer(array.ptr(), &buffer, PyBUF_WRITABLE) != 0) throw nb::python_error();
  *numbers = buffer.buf;  // stays where it is as long as the array does
  PyBuffer_Release(&buffer);
  return array;
}

nb::object new_array(NumberType type, const void* numbers, int64_t n, int64_t m) {
  void* memory = nullptr;
  nb::object array = empty_array(type, &memory, n, m);
  const size_t bytes = kSizes[static_cast<size_t>(type)] * static_cast<size_t>(n * (m < 0 ? 1 : m));
  if (bytes > 0) std::memcpy(memory, numbers, bytes);
  return array;
}

}  // namespace recblr::python
