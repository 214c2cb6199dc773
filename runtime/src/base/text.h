// Values in messages, as Python's `recblr.errors.shown` writes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace recblr {

// A string as Python's repr writes it, cut to 60 characters with "..." at the end.
std::string shown(std::string_view text);

// 1234567 as "1,234,567".
std::string grouped(int64_t number);

// A number as Python writes it: 0.01, 1.0, 1e-05.
std::string written(double number);

}  // namespace recblr
