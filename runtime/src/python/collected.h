// Python's garbage collection for classes that hold objects of Python's: without it, a cycle through one, such as a
// backend that keeps its engine, would never go.
#pragma once

#include <nanobind/nanobind.h>

namespace recblr::python {

namespace nb = nanobind;

// Called with each object that is held.
struct Visitor {
  visitproc visit;
  void* argument;

  // 0 to go on.
  int operator()(nb::handle object) const { return object.is_valid() ? visit(object.ptr(), argument) : 0; }
};

// The slots of a class with
//   int visit(const Visitor& visitor) const  hands on each object of which it holds a reference, until one is not 0
//   void clear()                             lets go of them
template <typename Class>
struct Collected {
  static int traverse(PyObject* self, visitproc visit, void* argument) {
    const Visitor visitor{visit, argument};
    if (const int stop = visitor(nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(self))))) return stop;
    return nb::inst_ready(self) ? nb::inst_ptr<Class>(self)->visit(visitor) : 0;
  }
  static int clear(PyObject* self) {
    if (nb::inst_ready(self)) nb::inst_ptr<Class>(self)->clear();
    return 0;
  }
  static inline const PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                                             {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                                             {0, nullptr}};
};

}  // namespace recblr::python
