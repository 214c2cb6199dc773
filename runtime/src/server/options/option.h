// One option of recblr-serve: how its text is read, from wherever it comes, and shown.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace recblr::server {

// A command line, variable or file that is wrong; the message is one line.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Kind { kWhole, kNumber, kBytes, kText, kSwitch };

struct Option {
  std::string name;         // "http-port": --http-port, RECBLR_SERVE_HTTP_PORT, http-port in the file
  std::string placeholder;  // "PORT"
  std::string help;
  Kind kind;
  std::string expects;                           // "a whole number from 0 to 65535"
  std::function<bool(const std::string&)> read;  // whether the text is such a value, which is then stored
  std::function<std::string()> show;             // the stored value, as it is read; "" for none
  std::string none = "none";                     // what having none means, for people, or
  bool none_is_value = false;                    // a value that has the same effect
  std::string alias = "";                        // "port"
  std::string group = "";
  std::string source = "default";
  // Of one that takes several values:
  std::function<void()> clear = nullptr;
  std::function<std::vector<std::string>()> values = nullptr;
  bool secret = false;

  // Stores the values that `origin` gave, instead of others. Throws UsageError: which it was, and what would do.
  void set(const std::vector<std::string>& values, const std::string& origin);
  bool many() const { return clear != nullptr; }
  // The value for people, where it may be seen.
  std::string shown_value() const;
};

// `text` for a message: on one line, at most 80 bytes, in quotes unless it is a number.
std::string quote(std::string_view text);
std::string format_bytes(int64_t bytes);
inline std::string format_bytes(const std::optional<int64_t>& bytes) { return bytes ? format_bytes(*bytes) : ""; }

// For the makers below.
std::optional<int64_t> parse_whole(const std::string& text);
std::optional<int64_t> parse_bytes(const std::string& text);
std::optional<double> parse_number(const std::string& text);
std::string text_of(int64_t value);
std::string text_of(double value);
inline std::string text_of(int value) { return text_of(int64_t{value}); }
template <typename Value>
std::string text_of(const std::optional<Value>& value) {
  return value ? text_of(*value) : "";
}
std::string range(const std::string& what, const std::string& least, const std::string& most, bool above = false);

// `Value` is an integer or an optional one.
template <typename Value>
Option whole(std::string name, std::string placeholder, Value* value, int64_t least, int64_t most, std::string help) {
  const auto read = [=](const std::string& text) {
    const std::optional<int64_t> parsed = parse_whole(text);
    if (!parsed || *parsed < least || *parsed > most) return false;
    *value = static_cast<Value>(*parsed);
    return true;
  };
  return {name,
          placeholder,
          help,
          Kind::kWhole,
          range("a whole number", std::to_string(least), std::to_string(most)),
          read,
          [value] { return text_of(*value); }};
}

// Finite; with `above`, least itself is none.
template <typename Value>
Option number(std::string name, std::string placeholder, Value* value, double least, double most, std::string help,
              bool above = false) {
  const auto read = [=](const std::string& text) {
    const std::optional<double> parsed = parse_number(text);
    if (!parsed || !(*parsed >= least && *parsed <= most) || (above && *parsed == least)) return false;
    *value = *parsed;
    return true;
  };
  return {
      name, placeholder, help, Kind::kNumber, range("a number", text_of(least), text_of(most), above), read, [value] {
        return text_of(*value);
      }};
}

// 4096, 64KiB, 32MiB, 2GiB.
template <typename Value>
Option bytes(std::string name, Value* value, int64_t least, int64_t most, std::string help) {
  const auto read = [=](const std::string& text) {
    const std::optional<int64_t> parsed = parse_bytes(text);
    if (!parsed || *parsed < least || *parsed > most) return false;
    *value = *parsed;
    return true;
  };
  return {name,
          "BYTES",
          help,
          Kind::kBytes,
          range("bytes, as 64KiB or 32MiB,", format_bytes(least), format_bytes(most)),
          read,
          [value] { return format_bytes(*value); }};
}

// `Value` is a string or an optional one; not empty.
template <typename Value>
Option text(std::string name, std::string placeholder, Value* value, std::string expects, std::string help) {
  const auto read = [=](const std::string& text) {
    *value = text;
    return !text.empty();
  };
  const auto show = [value] {
    const std::optional<std::string> stored = *value;
    return stored.value_or("");
  };
  return {name, placeholder, help, Kind::kText, expects, read, show};
}

Option texts(std::string name, std::string placeholder, std::vector<std::string>* values, std::string expects,
             std::string help);
Option choice(std::string name, std::string* value, std::vector<std::string> choices, std::string help);
// A switch that is off without its flag.
Option toggle(std::string name, bool* value, std::string help);

}  // namespace recblr::server
