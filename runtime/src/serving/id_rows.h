// Rows of item ids as they come from JSON or tensors: integers, strings, or both mixed.
#pragma once

#include <cstddef>
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
  void add(int64_t id) {
    if (strings_) return add_decimal(id);
    integers_.push_back(id);
    ++n_ids_;
  }
  void add(std::string_view id);
  // An integer beyond 64 bits, in decimal form.
  void add_big_integer(std::string_view decimal) { add(decimal); }
  // Many at once, from memory that need not be aligned.
  void add_integers(const char* bytes, int64_t count);
  void end_row() { offsets_.push_back(n_ids_); }
  void clear();

  int64_t n_rows() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t n_ids() const { return n_ids_; }
  // Ids of row b.
  int64_t size(int64_t row) const {
    const auto b = static_cast<size_t>(row);
    return offsets_[b + 1] - offsets_[b];
  }
  // Memory that clear() keeps.
  size_t kept_bytes() const;
  bool has_strings() const { return strings_; }
  // Of the rows that are ended. Valid until the next change.
  recblr_ids view() const;

 private:
  void add_decimal(int64_t id);
  void make_strings();

  bool strings_ = false;
  int64_t n_ids_ = 0;
  std::vector<int64_t> offsets_ = {0};
  std::vector<int64_t> integers_;
  std::string text_;
  std::vector<int64_t> text_offsets_ = {0};
};

}  // namespace recblr::serving
