#include "serving/text.h"

namespace recblr::serving {
namespace {

constexpr size_t kMostShown = 60;  // bytes

}  // namespace

size_t character_size(std::string_view text) {
  const auto byte = [text](size_t j) { return static_cast<unsigned char>(text[j]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (size == 0 || text.size() < size) return 0;
  for (size_t j = 1; j < size; ++j) {
    if ((byte(j) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, halves of surrogate pairs, and what is beyond Unicode.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) || (first == 0xf0 && byte(1) < 0x90) ||
      (first == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return size;
}

std::string shown(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "'";
  while (!text.empty()) {
    if (out.size() > kMostShown) return out + "...";
    const size_t size = character_size(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (size == 0 || first < 0x20 || first == 0x7f) {
      out += {'\\', 'x', kDigits[first >> 4], kDigits[first & 15]};
    } else {
      if (first == '\'' || first == '\\') out += '\\';
      out += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out + "'";
}

std::string shown_number(std::string_view digits) {
  return digits.size() <= 60 ? std::string(digits) : std::string(digits.substr(0, 57)) + "...";
}

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

}  // namespace recblr::serving
