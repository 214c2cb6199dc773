// What a call that failed leaves behind.
#pragma once

#include <string>

namespace recblr {

// Keeps the message for this thread's recblr_plugins_last_error and returns the status. The message is empty where
// there is no memory to keep it.
int fail(int status, const char* message) noexcept;
int fail(int status, const std::string& message) noexcept;

}  // namespace recblr
