// Keeps exceptions inside the library: functions of recblr.h give a status, and recblr_last_error the words.
#pragma once

#include <exception>
#include <string>

#include "base/error.h"
#include "recblr/recblr.h"

namespace recblr::api {

// The status of an exception; sets what recblr_last_error of this thread says.
recblr_status status_of(const std::exception_ptr& error) noexcept;

// Runs a function and gives RECBLR_OK, or the status of what it throws.
template <typename Function>
recblr_status guarded(Function&& function) noexcept {
  try {
    function();
    return RECBLR_OK;
  } catch (...) {
    return status_of(std::current_exception());
  }
}

// The same for functions that give a value: what `function` returns, or `otherwise` where it throws.
template <typename Value, typename Function>
Value guarded_or(Value otherwise, Function&& function) noexcept {
  try {
    return function();
  } catch (...) {
    status_of(std::current_exception());
    return otherwise;
  }
}

// Throws Error(kInvalidArgument), "<name> is NULL", where it is.
template <typename Pointer>
Pointer* not_null(Pointer* pointer, const char* name) {
  if (pointer == nullptr) refuse(Code::kInvalidArgument, std::string(name) + " is NULL");
  return pointer;
}

// What recblr_last_error of this thread says; "" where nothing was wrong since `clear_last_error`.
const char* last_error() noexcept;
void clear_last_error() noexcept;

}  // namespace recblr::api
