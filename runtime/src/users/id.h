// Ids of users, events and items as stores keep them: integers and strings stay apart, whatever a model's ids are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace recblr {

// A view; nothing is owned.
struct Id {
  IdType type = IdType::kInteger;
  int64_t integer = 0;    // of an integer without text
  std::string_view text;  // a string; or an integer's canonical decimal form, for one beyond int64; data() is not NULL

  static Id of(int64_t integer) { return {IdType::kInteger, integer, {}}; }
  static Id of(std::string_view string) { return {IdType::kString, 0, string}; }
};

// Throws Error(kInvalidArgument): longer than 1,024 characters or 100 digits, no valid UTF-8, an integer's text that is
// not canonical. `name` is for the message, "user", and `index` for "items[3]".
void check_id(const Id& id, const char* name, int64_t index = -1);

// Appends an id as a person writes it: 25, or the string itself.
void append_text(const Id& id, std::string* text);

// An id as text in which an integer and the string of its digits stay different: "i25", "s25". Its inverse is a view of
// the key.
std::string key_of(const Id& id);
Id id_of_key(std::string_view key);

// As Python's `recblr.errors.shown` writes it: 25, 'abc'.
std::string shown(const Id& id);

}  // namespace recblr
