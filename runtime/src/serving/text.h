// Values of requests in messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace recblr::serving {

// Bytes of the character at the beginning of `text`, which is not empty; 0 where it is no UTF-8.
size_t character_size(std::string_view text);

// 'text', cut to 60 bytes with "..." at the end, in one line of valid UTF-8 whatever it holds.
std::string shown(std::string_view text);

// A number's digits, cut to 60 bytes with "..." at the end.
std::string shown_number(std::string_view digits);

// "[2, 3]"
template <typename Numbers>
std::string shown_list(const Numbers& numbers) {
  std::string text = "[";
  for (const auto& number : numbers) {
    if (text.size() > 60) return text + ", ...]";
    if (text.size() > 1) text += ", ";
    text += std::to_string(number);
  }
  return text + "]";
}

// 1234567 as "1,234,567".
std::string grouped(int64_t number);

}  // namespace recblr::serving
