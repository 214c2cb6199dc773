// Names of requests, by which they are found in logs.
#pragma once

#include <string>
#include <string_view>

namespace recblr::server {

// Of 1 to 128 printable ASCII characters without spaces.
bool is_sane_request_id(std::string_view id);
// 32 hexadecimal digits; not for secrets.
std::string new_request_id();

}  // namespace recblr::server
