// The answer of a request, as Python has it.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Finds the class of rankings; called when the module is imported.
void init_answer();

// The memory of an answer, borrowed from those that are there to be used again.
class Result {
 public:
  Result();
  ~Result();
  Result(const Result&) = delete;
  Result& operator=(const Result&) = delete;
  recblr_result* get() const { return result_; }

 private:
  recblr_result* result_;
};

// [B] objects of recblr.runtime.Ranking.
nb::list rankings(const recblr_result* result);

}  // namespace recblr::python
