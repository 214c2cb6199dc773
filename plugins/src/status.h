// The error of a thread's last call.
#pragma once

#include <cstdint>
#include <string>

namespace recblr {

// Whether this is one of the types of data arrays, and what to say if not.
bool is_data_type(int32_t dtype);
std::string unknown_data_type(int32_t dtype);

// Keeps the message for recblr_last_error and returns the status.
int fail(int status, const std::string& message) noexcept;

}  // namespace recblr
