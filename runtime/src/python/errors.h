// The library's errors as those of recblr.errors.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Finds the classes of exceptions; called when the module is imported.
void init_errors();

// The exception for a status. `message` is UTF-8, surrogates included.
nb::object exception_of(recblr_status status, const std::string& message);

// Text for a function that takes it up to a NUL. Raises the exception of `status` where there is one within.
const char* terminated(const std::string& text, const char* name, recblr_status status);

// The status that stands for an exception of ours; RECBLR_OK for one that no status stands for.
recblr_status status_of(nb::handle exception);

[[noreturn]] void raise(recblr_status status, const std::string& message);
// Sets and throws an exception, caused by another one where that is given.
[[noreturn]] void raise(const nb::object& exception);

// Raises what the last call of this thread said, if it failed.
inline void check(recblr_status status) {
  if (status != RECBLR_OK) raise(status, recblr_last_error());
}

// recblr.errors.shown and its `short_reason`, as UTF-8.
std::string shown(nb::handle value);
std::string short_reason(nb::handle exception);
std::string name_of_type(nb::handle value);

// Text to and from Python; surrogates pass, as Python's file names and JSON may hold them.
nb::object text_of(const char* text, size_t length);
std::string utf8_of(nb::handle text);

}  // namespace recblr::python
