// Errors on their way between Triton's functions, which return them, and ours, which throw recblr::Error.
#pragma once

#include <exception>
#include <new>

#include "recblr/recblr.hpp"
#include "triton/triton_api.h"

namespace recblr::triton {

// Throws what a function of Triton's returned, and gives it back.
void check(TRITONSERVER_Error* error);

// For Triton, whose it is then. Takes no memory of ours, so that there is an error where there is none.
TRITONSERVER_Error* error_of(Status status, const char* message) noexcept;

// Calls; gives what it throws, for Triton, or nullptr.
template <typename Call>
TRITONSERVER_Error* guarded(const Call& call) noexcept {
  try {
    call();
    return nullptr;
  } catch (const Error& error) {
    return error_of(error.status(), error.what());
  } catch (const std::bad_alloc&) {
    return error_of(Status::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    return error_of(Status::kInternal, error.what());
  } catch (...) {
    return error_of(Status::kInternal, "an exception of an unknown type");
  }
}

// Writes an error to the server's log, where nobody can be told.
void log_error(TRITONSERVER_Error* error) noexcept;
void log_info(const char* message) noexcept;

}  // namespace recblr::triton
