#include <toml++/toml.h>

#include <cstdio>

#include "server/options/config_file.h"

namespace recblr::server {
namespace {

std::string toml_string(const std::string& text) {
  std::string shown = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') shown += '\\';
    if (byte < 0x20 || byte == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", byte);
      shown += code;
    } else {
      shown += c;
    }
  }
  return shown + '"';
}

bool is_quoted(Kind kind) { return kind == Kind::kText || kind == Kind::kBytes; }

std::string toml_value(const Option& option) {
  if (!is_quoted(option.kind)) return option.show();
  if (!option.many()) return toml_string(option.show());
  std::string values;
  for (const std::string& value : option.values()) values += (values.empty() ? "" : ", ") + toml_string(value);
  return "[" + values + "]";
}

// A line that is TOML without its "# ", or has, in parentheses, what people may know of the value.
std::string commented(const Option& option) {
  std::string value = "(" + option.shown_value() + ")";
  if (option.show().empty() && option.none_is_value) {
    value = is_quoted(option.kind) ? toml_string(option.none) : option.none;
  }
  return "# " + option.name + " = " + value;
}

}  // namespace

std::string config_text(const std::vector<Option>& list) {
  constexpr size_t kColumn = 40;
  std::string text, group;
  for (const Option& option : list) {
    if (option.group != group) {
      text += (group.empty() ? "# " : "\n# ") + option.group + "\n";
      group = option.group;
    }
    const bool shown = !option.show().empty() && option.shown_value() == option.show();
    std::string line = shown ? option.name + " = " + toml_value(option) : commented(option);
    if (line.size() < kColumn) line.append(kColumn - line.size(), ' ');
    text += line + " # " + option.source + "\n";
  }
  return text;
}

}  // namespace recblr::server
