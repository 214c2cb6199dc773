// Numbers and flags in any form that Python has for them.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace recblr::python {

namespace nb = nanobind;

// Whether `value` is a whole number of 64 bits, Python's or NumPy's, and which.
bool as_whole(nb::handle value, int64_t* number);

// Whether `value` is True or False, Python's or NumPy's, or 1 or 0, and which.
bool as_flag(nb::handle value, bool* flag);

}  // namespace recblr::python
