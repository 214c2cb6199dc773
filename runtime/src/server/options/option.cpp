#include "server/options/option.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <locale>
#include <sstream>

namespace recblr::server {
namespace {

constexpr size_t kLongest = 80;
struct Unit {
  const char* name;
  int shift;
};
constexpr Unit kUnits[] = {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}};

template <typename Number>
std::optional<Number> parse(const std::string& text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

// An address, or *** for what comes after its scheme where that may hold a password.
std::string without_password(std::string text) {
  const size_t scheme = text.find("://");
  if (scheme != std::string::npos && text.find_first_of("@?", scheme) != std::string::npos) {
    text.replace(scheme + 3, std::string::npos, "***");
  }
  return text;
}

}  // namespace

void Option::set(const std::vector<std::string>& values, const std::string& origin) {
  if (clear) clear();
  for (const std::string& value : values) {
    if (!read(value)) {
      // A secret that is wrong is one all the same.
      const std::string given = value.empty() ? "empty" : secret ? "***" : quote(value);
      throw UsageError(origin + " is " + given + ": give " + expects);
    }
  }
  source = origin;
}

std::string Option::shown_value() const {
  const std::string value = show();
  return value.empty() ? none : secret ? "***" : without_password(value);
}

std::string quote(std::string_view text) {
  if (text.size() <= kLongest && parse_number(std::string(text))) return std::string(text);
  std::string shown;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      shown += c;
    } else {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", byte);
      shown += code;
    }
  }
  return "'" + shown + (text.size() > kLongest ? "...'" : "'");
}

std::string format_bytes(int64_t bytes) {
  for (const Unit& unit : kUnits) {
    if (bytes != 0 && bytes % (int64_t{1} << unit.shift) == 0) return std::to_string(bytes >> unit.shift) + unit.name;
  }
  return std::to_string(bytes);
}

std::optional<int64_t> parse_whole(const std::string& text) { return parse<int64_t>(text); }

std::optional<int64_t> parse_bytes(const std::string& text) {
  for (const Unit& unit : kUnits) {
    const size_t end = text.size() - 3;
    if (text.size() <= 3 || text.compare(end, 3, unit.name) != 0) continue;
    const std::optional<int64_t> count = parse<int64_t>(text.substr(0, end));
    if (!count || *count < 0 || *count > INT64_MAX >> unit.shift) return std::nullopt;
    return *count << unit.shift;
  }
  return parse<int64_t>(text);
}

std::optional<double> parse_number(const std::string& text) {
  const std::optional<double> value = parse<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::string text_of(int64_t value) { return std::to_string(value); }

std::string text_of(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, std::end(text), value).ptr);
}

std::string range(const std::string& what, const std::string& least, const std::string& most, bool above) {
  return what + (above ? " above " : " from ") + least + (above ? " up to " : " to ") + most;
}

Option texts(std::string name, std::string placeholder, std::vector<std::string>* values, std::string expects,
             std::string help) {
  const auto read = [values](const std::string& text) {
    if (text.empty()) return false;
    values->push_back(text);
    return true;
  };
  const auto show = [values] {
    std::string all;
    for (const std::string& value : *values) all += (all.empty() ? "" : ",") + value;
    return all;
  };
  Option option{name, placeholder, help, Kind::kText, expects, read, show};
  option.clear = [values] { values->clear(); };
  option.values = [values] { return *values; };
  return option;
}

Option choice(std::string name, std::string* value, std::vector<std::string> choices, std::string help) {
  std::string expects;
  for (size_t i = 0; i < choices.size(); ++i) {
    expects += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
  }
  std::string placeholder;
  for (const std::string& one : choices) placeholder += (placeholder.empty() ? "" : "|") + one;
  const auto read = [value, choices](const std::string& text) {
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) return false;
    *value = text;
    return true;
  };
  return {name, placeholder, help, Kind::kText, expects, read, [value] { return *value; }};
}

Option toggle(std::string name, bool* value, std::string help) {
  const auto read = [value](const std::string& text) {
    // Those besides true and false are what people give environment variables.
    *value = text == "true" || text == "1" || text == "yes";
    return *value || text == "false" || text == "0" || text == "no";
  };
  const auto show = [value] { return *value ? "true" : "false"; };
  return {name, "", help, Kind::kSwitch, "true or false", read, show};
}

}  // namespace recblr::server
