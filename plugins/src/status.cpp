#include "status.h"

#include "recblr/plugins.h"

namespace recblr {

namespace {
thread_local std::string last_error;
}

bool is_data_type(int32_t dtype) {
  return dtype == RECBLR_FLOAT32 || dtype == RECBLR_FLOAT16 || dtype == RECBLR_BFLOAT16;
}

std::string unknown_data_type(int32_t dtype) {
  return "dtype is " + std::to_string(dtype) + ": it must be float32, float16 or bfloat16";
}

int fail(int status, const std::string& message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

}  // namespace recblr

extern "C" const char* recblr_last_error(void) { return recblr::last_error.c_str(); }
