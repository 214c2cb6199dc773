#include <new>
#include <stdexcept>
#include <string>

#include "api/guard.h"
#include "base/cpus.h"

namespace recblr::api {
namespace {

thread_local std::string message;            // of this thread's last error
thread_local bool is_out_of_memory = false;  // there was none for the message

recblr_status fail(Code code, const char* text) noexcept {
  try {
    message = text;
    for (char& c : message) {
      if (c == '\n' || c == '\r') c = ' ';
    }
    is_out_of_memory = false;
  } catch (...) {
    is_out_of_memory = true;
  }
  return static_cast<recblr_status>(code);
}

recblr_status fail_for_memory() noexcept {
  return fail(Code::kOutOfMemory, "out of memory: ask for fewer rows or results at once");
}

static_assert(static_cast<int>(Code::kOk) == RECBLR_OK);
static_assert(static_cast<int>(Code::kInvalidArgument) == RECBLR_INVALID_ARGUMENT);
static_assert(static_cast<int>(Code::kConfig) == RECBLR_BAD_CONFIG);
static_assert(static_cast<int>(Code::kBundle) == RECBLR_BAD_BUNDLE);
static_assert(static_cast<int>(Code::kStore) == RECBLR_STORE_FAILED);
static_assert(static_cast<int>(Code::kOverloaded) == RECBLR_OVERLOADED);
static_assert(static_cast<int>(Code::kDeadline) == RECBLR_DEADLINE);
static_assert(static_cast<int>(Code::kClosed) == RECBLR_CLOSED);
static_assert(static_cast<int>(Code::kBackend) == RECBLR_BACKEND_FAILED);
static_assert(static_cast<int>(Code::kFork) == RECBLR_FORKED);
static_assert(static_cast<int>(Code::kOutOfMemory) == RECBLR_OUT_OF_MEMORY);
static_assert(static_cast<int>(Code::kUnsupported) == RECBLR_UNSUPPORTED);
static_assert(static_cast<int>(Code::kCancelled) == RECBLR_CANCELLED);
static_assert(static_cast<int>(Code::kInternal) == RECBLR_INTERNAL);

}  // namespace

recblr_status status_of(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const Error& failure) {
    return fail(failure.code(), failure.what());
  } catch (const std::bad_alloc&) {
    return fail_for_memory();
  } catch (const std::length_error&) {  // more than any vector holds
    return fail_for_memory();
  } catch (const std::exception& failure) {
    return fail(Code::kInternal, failure.what());
  } catch (...) {
    return fail(Code::kInternal, "an exception of an unknown type");
  }
}

const char* last_error() noexcept { return is_out_of_memory ? "out of memory" : message.c_str(); }

void clear_last_error() noexcept {
  message.clear();
  is_out_of_memory = false;
}

}  // namespace recblr::api

extern "C" {

const char* recblr_version(void) { return RECBLR_VERSION; }

const char* recblr_last_error(void) { return recblr::api::last_error(); }

recblr_status recblr_set_error(recblr_status status, const char* message) {
  recblr::api::fail(static_cast<recblr::Code>(status), message == nullptr ? "" : message);
  return status;
}

int32_t recblr_usable_cpus(void) {
  return recblr::api::guarded_or<int32_t>(1, [] { return static_cast<int32_t>(recblr::usable_cpus()); });
}
}
