// The error of a thread's last call.
#pragma once

#include <string>

namespace recblr {

// Keeps the message for recblr_last_error and returns the status.
int fail(int status, const std::string& message) noexcept;

}  // namespace recblr
