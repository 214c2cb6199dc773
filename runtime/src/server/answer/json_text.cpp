#include "server/answer/json_text.h"

#include <charconv>
#include <cmath>

namespace recblr::server {

void append_integer(int64_t number, std::string* out) {
  char digits[24];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
  out->append(digits, end.ptr);
}

void append_float(float number, std::string* out) {
  if (!std::isfinite(number)) {
    *out += "null";
    return;
  }
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
  const std::string_view text(digits, static_cast<size_t>(end.ptr - digits));
  *out += text;
  if (text.find_first_of(".e") == std::string_view::npos) *out += ".0";
}

void append_string(std::string_view text, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  *out += '"';
  size_t begin = 0;
  for (size_t j = 0; j < text.size(); ++j) {
    const auto byte = static_cast<unsigned char>(text[j]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out->append(text.data() + begin, j - begin);
    begin = j + 1;
    if (byte >= 0x20) {
      *out += {'\\', static_cast<char>(byte)};
    } else {
      *out += {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  out->append(text.data() + begin, text.size() - begin);
  *out += '"';
}

}  // namespace recblr::server
