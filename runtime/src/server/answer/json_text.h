// Writes JSON to the end of a string.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace recblr::server {

void append_integer(int64_t number, std::string* out);

// The shortest decimal number that reads back as the same float32, with a point or an exponent; null where it is none.
void append_float(float number, std::string* out);

// Quoted. `text` is UTF-8.
void append_string(std::string_view text, std::string* out);

}  // namespace recblr::server
