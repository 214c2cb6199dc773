// Lists of item ids as JSON text: [7,"7",9223372036854775808], which is how all stores keep them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "users/id.h"

namespace recblr {

// The ids as Python's json.dumps(ids, ensure_ascii=False, separators=(",", ":")) writes them.
std::string items_text(const Id* items, int64_t n);

// Reads such a text id by id; blanks between them and escapes of any kind are understood, too.
class ItemsReader {
 public:
  explicit ItemsReader(std::string_view text) : text_(text) {}

  // Reads the next id into `id`, whose text is valid until the next call; false at the end, or where the text is none.
  bool next(Id* id);
  // Whether the end was reached, and not something else than a list of integers and strings.
  bool ended_well() const { return state_ == State::kEnded; }

 private:
  enum class State { kBefore, kBetween, kEnded, kBroken };
  bool fail();
  void skip_blanks();
  bool read_integer(Id* id);
  bool read_string(Id* id);
  bool read_escape();
  std::optional<uint32_t> read_hex();

  std::string_view text_;
  size_t at_ = 0;
  State state_ = State::kBefore;
  std::string unescaped_;
};

}  // namespace recblr
