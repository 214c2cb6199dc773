// From exceptions to status codes: none leaves a function of the C ABI.
#pragma once

#include <exception>
#include <stdexcept>

#include "abi/status.h"
#include "recblr/plugins.h"

namespace recblr {

// Runs body() and returns the status that it returns. If it throws std::invalid_argument, that is
// RECBLR_INVALID_ARGUMENT with the exception's message; any other exception comes of memory that is not to be had, and
// is RECBLR_OUT_OF_MEMORY with the message given.
template <typename Body>
int guarded(const char* out_of_memory, const Body& body) noexcept {
  try {
    return body();
  } catch (const std::invalid_argument& error) {
    return fail(RECBLR_INVALID_ARGUMENT, error.what());
  } catch (const std::exception&) {
    return fail(RECBLR_OUT_OF_MEMORY, out_of_memory);
  }
}

}  // namespace recblr
