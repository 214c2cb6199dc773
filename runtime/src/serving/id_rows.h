// Rows of item ids as they come from JSON or tensors: integers, strings, or both mixed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/recblr.h"

namespace recblr::serving {

// Filled id by id, row by row, and used again: clear() keeps the memory. Integers alone stay integers; with the first
// string, or integer beyond 64 bits, all become strings in canonical decimal form, which to a model are the same ids.
class IdRows {
 public:
  void add(int64_t id);
  void add(std::string_view id);
  // An integer beyond 64 bits, in decimal form.
  void add_big_integer(std::string_view decimal) { add(decimal); }
  void end_row();
  void clear();

  int64_t n_rows() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t n_ids() const { return n_ids_; }
  // Ids of row b.
  int64_t size(int64_t row) const { return offsets_[row + 1] - offsets_[row]; }
  bool has_strings() const { return strings_; }
  // Valid until the next change.
  recblr_ids view() const;

 private:
  bool strings_ = false;
  int64_t n_ids_ = 0;
  std::vector<int64_t> offsets_ = {0};
  std::vector<int64_t> integers_;
  std::string text_;
  std::vector<int64_t> text_offsets_ = {0};
};

}  // namespace recblr::serving
