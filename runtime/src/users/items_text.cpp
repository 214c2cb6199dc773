#include "users/items_text.h"

#include <charconv>

namespace recblr {

namespace {

constexpr char kHex[] = "0123456789abcdef";

void append_string(std::string_view text, std::string* json) {
  *json += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        *json += "\\\"";
        break;
      case '\\':
        *json += "\\\\";
        break;
      case '\n':
        *json += "\\n";
        break;
      case '\r':
        *json += "\\r";
        break;
      case '\t':
        *json += "\\t";
        break;
      case '\f':
        *json += "\\f";
        break;
      case '\b':
        *json += "\\b";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          *json += "\\u00";
          *json += kHex[c >> 4];
          *json += kHex[c & 15];
        } else {
          *json += c;
        }
    }
  }
  *json += '"';
}

void append_utf8(uint32_t c, std::string* text) {
  const auto add = [text](uint32_t byte) { *text += static_cast<char>(byte); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xc0 | c >> 6);
    add(0x80 | (c & 63));
  } else if (c < 0x10000) {
    add(0xe0 | c >> 12);
    add(0x80 | (c >> 6 & 63));
    add(0x80 | (c & 63));
  } else {
    add(0xf0 | c >> 18);
    add(0x80 | (c >> 12 & 63));
    add(0x80 | (c >> 6 & 63));
    add(0x80 | (c & 63));
  }
}

}  // namespace

std::string items_text(const Id* items, int64_t n) {
  std::string json(1, '[');
  for (int64_t j = 0; j < n; ++j) {
    if (j > 0) json += ',';
    if (items[j].type == IdType::kString) {
      append_string(items[j].text, &json);
    } else {
      append_text(items[j], &json);
    }
  }
  json += ']';
  return json;
}

bool ItemsReader::fail() {
  state_ = State::kBroken;
  return false;
}

void ItemsReader::skip_blanks() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
    ++at_;
  }
}

bool ItemsReader::next(Id* id) {
  if (state_ != State::kBefore && state_ != State::kBetween) return false;
  skip_blanks();
  if (at_ == text_.size()) return fail();
  const char c = text_[at_];
  const bool is_first = state_ == State::kBefore;
  if (is_first ? c != '[' : c != ',' && c != ']') return fail();
  ++at_;
  skip_blanks();
  if (c == ']' || (is_first && at_ < text_.size() && text_[at_] == ']')) {
    at_ += is_first;
    skip_blanks();
    state_ = at_ == text_.size() ? State::kEnded : State::kBroken;
    return false;
  }
  state_ = State::kBetween;
  if (at_ == text_.size()) return fail();
  return text_[at_] == '"' ? read_string(id) : read_integer(id);
}

bool ItemsReader::read_integer(Id* id) {
  const size_t begin = at_;
  if (text_[at_] == '-') ++at_;
  const size_t digits = at_;
  while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
  if (at_ == digits || (text_[digits] == '0' && at_ - digits > 1)) return fail();
  const std::string_view text = text_.substr(begin, at_ - begin);
  int64_t integer = 0;
  const bool fits = std::from_chars(text.data(), text.data() + text.size(), integer).ec == std::errc();
  *id = fits ? Id::of(integer) : Id{IdType::kInteger, 0, text};
  return true;
}

bool ItemsReader::read_string(Id* id) {
  const size_t begin = ++at_;
  while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\') ++at_;
  if (at_ < text_.size() && text_[at_] == '"') {  // nothing to be replaced
    *id = Id::of(text_.substr(begin, at_++ - begin));
    return true;
  }
  unescaped_.assign(text_.substr(begin, at_ - begin));
  while (at_ < text_.size() && text_[at_] != '"') {
    if (text_[at_] != '\\') {
      unescaped_ += text_[at_++];
    } else if (!read_escape()) {
      return fail();
    }
  }
  if (at_ == text_.size()) return fail();
  ++at_;
  *id = Id::of(std::string_view(unescaped_));
  return true;
}

bool ItemsReader::read_escape() {
  if (text_.size() - at_ < 2) return false;
  const char c = text_[at_ + 1];
  at_ += 2;
  constexpr std::string_view kLetters = "\"\\/nrtfb", kCharacters = "\"\\/\n\r\t\f\b";
  if (const size_t place = kLetters.find(c); place != std::string_view::npos) {
    unescaped_ += kCharacters[place];
    return true;
  }
  if (c != 'u') return false;
  std::optional<uint32_t> code = read_hex();
  if (!code) return false;
  if (*code >= 0xd800 && *code < 0xdc00) {  // a pair of two
    if (text_.substr(at_, 2) != "\\u") return false;
    at_ += 2;
    const std::optional<uint32_t> second = read_hex();
    if (!second || *second < 0xdc00 || *second >= 0xe000) return false;
    code = 0x10000 + ((*code - 0xd800) << 10) + (*second - 0xdc00);
  } else if (*code >= 0xdc00 && *code < 0xe000) {
    return false;
  }
  append_utf8(*code, &unescaped_);
  return true;
}

std::optional<uint32_t> ItemsReader::read_hex() {
  uint32_t code = 0;
  const std::string_view digits = text_.substr(at_, 4);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (digits.size() < 4 || error != std::errc() || end != digits.data() + 4) return std::nullopt;
  at_ += 4;
  return code;
}

}  // namespace recblr
