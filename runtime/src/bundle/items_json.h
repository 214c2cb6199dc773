// items.json as columns, read piece by piece: no JSON value of a million ids is ever in memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace recblr {

// Types of JSON values by their names in Python, in alphabetical order.
enum class JsonType : size_t { kNone, kBool, kDict, kFloat, kInt, kList, kStr };
inline constexpr std::array<const char*, 7> kJsonTypes{"NoneType", "bool", "dict", "float", "int", "list", "str"};

// A list of the file.
struct JsonList {
  bool is_list = false;                         // what is there is one
  int64_t size = 0;                             // all values
  std::array<bool, kJsonTypes.size()> types{};  // which types these have
  std::vector<int64_t> integers;                // those that are
  std::string beyond;                           // the first integer that int64 cannot hold

  bool has_only(JsonType type) const;
};

struct ItemsJson {
  bool is_complete = false;            // an object with id_type, ids and counts
  std::optional<std::string> id_type;  // if it is a string
  JsonList ids, counts;
  std::string text;                       // all string ids, one after another, each with a NUL behind
  std::vector<uint64_t> text_offsets{0};  // [1 + how many they are]
};

// Nothing where the text is no JSON.
std::optional<ItemsJson> read_items_json(std::string_view json);

}  // namespace recblr
