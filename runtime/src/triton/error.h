// Errors on their way between Triton's functions, which return them, and ours, which throw recblr::Error.
#pragma once

#include <exception>

#include "recblr/recblr.hpp"
#include "triton/triton_api.h"

namespace recblr::triton {

// Throws what a function of Triton's returned, and gives it back.
void check(TRITONSERVER_Error* error);

// For Triton, whose it is then.
TRITONSERVER_Error* error_of(const Failure& failure);

// Calls; gives what it throws, for Triton, or nullptr.
template <typename Call>
TRITONSERVER_Error* guarded(const Call& call) {
  try {
    call();
    return nullptr;
  } catch (const Error& error) {
    return error_of({error.status(), error.what()});
  } catch (const std::bad_alloc&) {
    return error_of({Status::kOutOfMemory, "out of memory"});
  } catch (const std::exception& error) {
    return error_of({Status::kInternal, error.what()});
  }
}

// Writes an error to the server's log, where nobody can be told.
void log_error(TRITONSERVER_Error* error);
void log_info(const char* message);

}  // namespace recblr::triton
