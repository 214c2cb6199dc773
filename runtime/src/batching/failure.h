// Errors for those whose request failed, made where nothing may be thrown.
#pragma once

#include <exception>
#include <string>

#include "base/error.h"

namespace recblr {

// An Error of this message; Error(kOutOfMemory) where there is no memory for it.
std::exception_ptr failure(Code code, const char* message) noexcept;

// "out of memory: ..."; takes none.
std::exception_ptr no_memory() noexcept;

// What a caller gets for a run that threw: an Error as it is, std::bad_alloc as Error(kOutOfMemory), and anything else
// as Error(kBackend), "the backend failed on this request (...): ...".
std::exception_ptr explained(const std::exception_ptr& thrown) noexcept;

// Whether other rows, or fewer, may be answered where some were not: not where their caller was interrupted, or the
// engine is closed or another process's.
bool is_about_rows(const std::exception_ptr& thrown) noexcept;

// Error(kDeadline) of a request that waited so many seconds.
std::exception_ptr late(double seconds) noexcept;

// What an exception says, in one line of at most 160 characters.
std::string short_reason(const std::exception_ptr& thrown);

// Throws an Error of this code for seconds that are no time to wait.
void check_timeout(double seconds, Code code);

}  // namespace recblr
