// NumPy arrays, by the buffer protocol.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace recblr::python {

namespace nb = nanobind;

enum class NumberType { kInt32, kInt64, kFloat32 };

// Finds NumPy; called when the module is imported.
void init_arrays();

// A C-contiguous array of numbers, held as long as this is.
class ArrayView {
 public:
  // Of what NumPy makes an array of this type. Raises what NumPy does.
  ArrayView(nb::handle value, NumberType type);
  ~ArrayView() { PyBuffer_Release(&buffer_); }
  ArrayView(const ArrayView&) = delete;
  ArrayView& operator=(const ArrayView&) = delete;

  int n_dims() const { return buffer_.ndim; }
  int64_t size(int dimension) const { return buffer_.shape[dimension]; }
  int64_t count() const;
  template <typename Number>
  const Number* data() const {
    return static_cast<const Number*>(buffer_.buf);
  }

 private:
  Py_buffer buffer_;
};

// A new array [n] of numbers that are copied, or [n, m] where m is not negative.
nb::object new_array(NumberType type, const void* numbers, int64_t n, int64_t m = -1);

// The same, not filled: `*numbers` is to be written.
nb::object empty_array(NumberType type, void** numbers, int64_t n, int64_t m = -1);

}  // namespace recblr::python
