// What the library says of itself and of the last call.
#include "abi/status.h"

#include "recblr/plugins.h"

namespace recblr {

namespace {
thread_local std::string last_error;
}

int fail(int status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

int fail(int status, const std::string& message) noexcept { return fail(status, message.c_str()); }

}  // namespace recblr

extern "C" const char* recblr_plugins_last_error(void) { return recblr::last_error.c_str(); }

extern "C" int recblr_plugins_abi_version(void) { return RECBLR_ABI_VERSION; }

extern "C" const char* recblr_plugins_version(void) { return RECBLR_VERSION; }
