#include "status.h"

#include "recblr/plugins.h"

namespace recblr {

namespace {
thread_local std::string last_error;
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
