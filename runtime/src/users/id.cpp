#include "users/id.h"

#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace recblr {

namespace {

constexpr int64_t kMostCharacters = 1024;
constexpr size_t kMostDigits = 100;

// How many characters a text has; -1 if it is no valid UTF-8.
int64_t count_characters(std::string_view text) {
  int64_t n = 0;
  for (size_t at = 0; at < text.size(); ++n) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
    if (byte(0) < 0x80) {
      ++at;
      continue;
    }
    const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
    if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() - at < length) return -1;
    for (size_t i = 1; i < length; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return -1;
    }
    if (byte(0) == 0xe0 && byte(1) < 0xa0) return -1;   // longer than need be
    if (byte(0) == 0xed && byte(1) >= 0xa0) return -1;  // half of a surrogate pair
    if (byte(0) == 0xf0 && byte(1) < 0x90) return -1;
    if (byte(0) == 0xf4 && byte(1) >= 0x90) return -1;  // beyond Unicode
    at += length;
  }
  return n;
}

bool is_canonical(std::string_view digits) {
  if (digits == "0") return true;
  if (!digits.empty() && digits[0] == '-') digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '0') return false;
  return digits.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

void check_id(const Id& id, const char* name, int64_t index) {
  const auto named = [&] {
    return index < 0 ? std::string(name) : std::string(name) + "[" + std::to_string(index) + "]";
  };
  if (id.type == IdType::kInteger) {
    if (id.text.data() == nullptr) return;
    if (!is_canonical(id.text)) {
      refuse(Code::kInvalidArgument,
             named() + " is the integer " + shown(id.text) + ": give its decimal form, such as 25");
    }
    if (id.text.size() > kMostDigits + (id.text[0] == '-')) {
      refuse(Code::kInvalidArgument, named() + " is a number of more than 100 digits: give a smaller one");
    }
    return;
  }
  const int64_t n = count_characters(id.text);
  if (n < 0) {
    refuse(Code::kInvalidArgument, named() + " is " + shown(id.text) + ", which is no valid Unicode: repair the text");
  }
  if (n > kMostCharacters) {
    refuse(Code::kInvalidArgument,
           named() + " has " + grouped(n) + " characters: give at most " + grouped(kMostCharacters));
  }
}

void append_text(const Id& id, std::string* text) {
  if (id.type == IdType::kString || id.text.data() != nullptr) {
    text->append(id.text);
    return;
  }
  char digits[20];
  text->append(digits, std::to_chars(digits, digits + sizeof digits, id.integer).ptr);
}

std::string key_of(const Id& id) {
  std::string key(1, id.type == IdType::kInteger ? 'i' : 's');
  append_text(id, &key);
  return key;
}

Id id_of_key(std::string_view key) {
  const std::string_view text = key.substr(1);
  if (key[0] == 's') return Id::of(text);
  int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error == std::errc() && end == text.data() + text.size()) return Id::of(integer);
  return {IdType::kInteger, 0, text};
}

std::string shown(const Id& id) {
  if (id.type == IdType::kString) return shown(id.text);
  std::string text;
  append_text(id, &text);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

}  // namespace recblr
