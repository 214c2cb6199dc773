// Small things about text that HTTP needs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace recblr::server {

// ASCII letters of either case are the same.
bool same_ignoring_case(std::string_view left, std::string_view right);

bool ends_with(std::string_view text, std::string_view end);

// nullopt where an escape is broken or the result is not UTF-8.
std::optional<std::string> percent_decoded(std::string_view text);

bool is_utf8(std::string_view text);

// In quotes, as JSON; what is not UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

}  // namespace recblr::server
