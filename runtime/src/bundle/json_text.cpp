#include "bundle/json_text.h"

#include <nlohmann/json.hpp>

#include "base/text.h"

namespace recblr {

namespace {

constexpr size_t kEnough = 60;  // bytes

// Appends until there is enough, so that nesting, too, goes no deeper.
void append(const nlohmann::json& value, std::string* text) {
  if (text->size() >= kEnough) return;
  if (value.is_null()) {
    *text += "None";
  } else if (value.is_boolean()) {
    *text += value.get<bool>() ? "True" : "False";
  } else if (value.is_string()) {
    *text += shown(value.get_ref<const std::string&>());
  } else if (value.is_structured()) {
    *text += value.is_array() ? '[' : '{';
    for (auto item = value.begin(); item != value.end() && text->size() < kEnough; ++item) {
      if (item != value.begin()) *text += ", ";
      if (value.is_object()) *text += shown(item.key()) + ": ";
      append(*item, text);
    }
    *text += value.is_array() ? ']' : '}';
  } else {
    *text += value.dump();
  }
}

}  // namespace

std::string shown_json(const nlohmann::json& value) {
  std::string text;
  append(value, &text);
  if (value.is_string() || text.size() <= kEnough) return text;
  size_t end = kEnough;
  while (end > 0 && (text[end] & 0xc0) == 0x80) --end;  // no part of a character
  return text.substr(0, end);
}

}  // namespace recblr
