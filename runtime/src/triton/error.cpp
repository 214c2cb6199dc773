#include "triton/error.h"

#include <string>

namespace recblr::triton {

namespace {

TRITONSERVER_Error_Code code_of(Status status) {
  switch (status) {
    case Status::kInvalidArgument:
    case Status::kBadConfig:
    case Status::kBadBundle:
      return TRITONSERVER_ERROR_INVALID_ARG;
    case Status::kOverloaded:
    case Status::kDeadline:
    case Status::kClosed:
      return TRITONSERVER_ERROR_UNAVAILABLE;
    case Status::kCancelled:
      return TRITONSERVER_ERROR_CANCELLED;
    case Status::kUnsupported:
      return TRITONSERVER_ERROR_UNSUPPORTED;
    default:
      return TRITONSERVER_ERROR_INTERNAL;
  }
}

void log(TRITONSERVER_LogLevel level, const char* message) noexcept {
  TRITONSERVER_Error* error = TRITONSERVER_LogMessage(level, "libtriton_recblr.so", 0, message);
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

}  // namespace

void check(TRITONSERVER_Error* error) {
  if (error == nullptr) return;
  const std::string message = TRITONSERVER_ErrorMessage(error);
  TRITONSERVER_ErrorDelete(error);
  throw Error({Status::kInternal, message});
}

TRITONSERVER_Error* error_of(Status status, const char* message) noexcept {
  return TRITONSERVER_ErrorNew(code_of(status), message);
}

void log_error(TRITONSERVER_Error* error) noexcept {
  if (error == nullptr) return;
  log(TRITONSERVER_LOG_ERROR, TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
}

void log_info(const char* message) noexcept { log(TRITONSERVER_LOG_INFO, message); }

}  // namespace recblr::triton
