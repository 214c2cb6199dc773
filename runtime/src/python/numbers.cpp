#include "python/numbers.h"

#include "python/ids.h"

namespace recblr::python {

bool as_whole(nb::handle value, int64_t* number) {
  if (PyBool_Check(value.ptr()) || !PyIndex_Check(value.ptr())) return false;
  nb::object index = nb::steal(PyNumber_Index(value.ptr()));
  if (!index.is_valid()) {  // of an array with several numbers
    PyErr_Clear();
    return false;
  }
  int overflow = 0;
  *number = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  return overflow == 0;
}

bool as_flag(nb::handle value, bool* flag) {
  int64_t number = 0;
  if (PyBool_Check(value.ptr()) || is_numpy_flag(value)) {
    *flag = PyObject_IsTrue(value.ptr()) == 1;
    return true;
  }
  if (!as_whole(value, &number) || number < 0 || number > 1) return false;
  *flag = number == 1;
  return true;
}

}  // namespace recblr::python
