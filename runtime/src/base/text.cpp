#include "base/text.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace recblr {

namespace {

constexpr size_t kMostShown = 60;  // characters

bool is_continuation(unsigned char byte) { return (byte & 0xc0) == 0x80; }

// Reads the character at `at`, and moves on behind it. Returns -1 for a byte that is not UTF-8.
int32_t next_character(std::string_view text, size_t* at) {
  const unsigned char first = static_cast<unsigned char>(text[(*at)++]);
  if (first < 0x80) return first;
  const int more = first >= 0xf0 && first < 0xf5   ? 3
                   : first >= 0xe0 && first < 0xf0 ? 2
                   : first >= 0xc2 && first < 0xe0 ? 1
                                                   : 0;
  if (more == 0 || text.size() - *at < static_cast<size_t>(more)) return -1;
  int32_t character = first & (0x3f >> more);
  for (int i = 0; i < more; ++i) {
    const unsigned char byte = static_cast<unsigned char>(text[*at + static_cast<size_t>(i)]);
    if (!is_continuation(byte)) return -1;
    character = character << 6 | (byte & 0x3f);
  }
  const int32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
  if (character < least || character > 0x10ffff || (character >= 0xd800 && character < 0xe000)) return -1;
  *at += static_cast<size_t>(more);
  return character;
}

// Whether Python's repr writes an escape for it: what no one can see, or would take for something else.
bool is_unprintable(int32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || (c >= 0x600 && c <= 0x605) || c == 0x61c || c == 0x6dd ||
         c == 0x70f || c == 0x1680 || c == 0x180e || (c >= 0x2000 && c <= 0x200f) || (c >= 0x2028 && c <= 0x202f) ||
         (c >= 0x205f && c <= 0x206f) || c == 0x3000 || (c >= 0xe000 && c <= 0xf8ff) || c == 0xfeff ||
         (c >= 0xfff0 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe || c >= 0xe0000;
}

std::string escaped(int32_t c) {
  constexpr char kDigits[] = "0123456789abcdef";
  const char letter = c < 0x100 ? 'x' : c < 0x10000 ? 'u' : 'U';
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  std::string text{'\\', letter};
  for (int digit = digits - 1; digit >= 0; --digit) text += kDigits[c >> 4 * digit & 15];
  return text;
}

}  // namespace

std::string shown(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out{quote};
  size_t characters = 1, cut = std::string::npos;  // `cut` is where the character kMostShown - 3 begins
  const auto add = [&](std::string_view piece, size_t count) {
    for (size_t i = 0; i < count && cut == std::string::npos; ++i) {
      if (characters + i == kMostShown - 3) cut = out.size() + i;  // only ASCII pieces have several characters
    }
    out += piece;
    characters += count;
  };
  for (size_t at = 0; at < text.size() && characters <= kMostShown;) {
    const size_t begin = at;
    const int32_t c = next_character(text, &at);
    if (c < 0) {  // as Python shows a byte that could not be decoded
      add(escaped(0xdc00 + static_cast<unsigned char>(text[begin])), 6);
    } else if (c == quote || c == '\\') {
      add(std::string{'\\', static_cast<char>(c)}, 2);
    } else if (c == '\t' || c == '\n' || c == '\r') {
      add(c == '\t' ? "\\t" : c == '\n' ? "\\n" : "\\r", 2);
    } else if (is_unprintable(c)) {
      const std::string escape = escaped(c);
      add(escape, escape.size());
    } else {
      add(text.substr(begin, at - begin), 1);
    }
  }
  add(std::string_view(&quote, 1), 1);
  return characters <= kMostShown ? out : out.substr(0, cut) + "...";
}

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  const int64_t first = number < 0 ? 1 : 0;
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > first; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

std::string written(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, number);
    if (std::strtod(text, nullptr) == number) break;
  }
  std::string result = text;
  if (result.find_first_of(".e") == std::string::npos) result += ".0";
  return result;
}

}  // namespace recblr
