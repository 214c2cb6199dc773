// Checks of the arguments, as far as the host can see them.
#pragma once

#include <string>

#include "platform.h"

namespace recblr {
namespace cuda {

template <typename Arguments>
std::string problem_with(const Arguments& a) {
  if (a.n_tokens < 0 || a.n_rows < 0 || a.width < 1) {
    return "n_tokens is " + std::to_string(a.n_tokens) + ", n_rows " + std::to_string(a.n_rows) + ", width " +
           std::to_string(a.width) + ": the first two must be at least 0, the last at least 1";
  }
  if (a.n_rows == 0 && a.n_tokens > 0) return std::to_string(a.n_tokens) + " tokens in no row";
  if (a.dtype != RECBLR_FLOAT32 && a.dtype != RECBLR_FLOAT16 && a.dtype != RECBLR_BFLOAT16) {
    return "dtype is " + std::to_string(a.dtype) + ": it must be float32, float16 or bfloat16";
  }
  if (a.offsets_type != RECBLR_INT64 && a.offsets_type != RECBLR_INT32) {
    return "offsets_type is " + std::to_string(a.offsets_type) + ": it must be int64 or int32";
  }
  if (a.offsets == nullptr) return "offsets is NULL";
  return "";
}

// Calls body(arguments) if they are sound; returns a status.
template <typename Arguments, typename Body>
int checked(const Arguments* arguments, const Body& body) noexcept {
  try {
    if (arguments == nullptr) return fail(RECBLR_INVALID_ARGUMENT, "the arguments are NULL");
    const std::string problem = problem_with(*arguments);
    if (!problem.empty()) return fail(RECBLR_INVALID_ARGUMENT, problem);
    return body(*arguments);
  } catch (const std::bad_alloc&) {
    return fail(RECBLR_OUT_OF_MEMORY, "out of host memory");
  }
}

}  // namespace cuda
}  // namespace recblr
