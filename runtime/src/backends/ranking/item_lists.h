// A request's lists of items by row: those that a ranking leaves out, and those that it may have.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "recblr/plugins.h"

namespace recblr {

// Lists of items, each sorted: list l is items[offsets[l]] to items[offsets[l + 1] - 1].
struct ItemLists {
  std::vector<int64_t> offsets;
  std::vector<int32_t> items;

  const int32_t* begin(int64_t row) const { return items.data() + offsets[static_cast<size_t>(row)]; }
  const int32_t* end(int64_t row) const { return items.data() + offsets[static_cast<size_t>(row) + 1]; }
  bool hold(int64_t row, int32_t item) const { return std::binary_search(begin(row), end(row), item); }
  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t size(int64_t row) const { return end(row) - begin(row); }
};

// The items not to be ranked, a list for each row. Duplicates stay.
ItemLists exclusions_of(const recblr_top_items& a);

// The items that may be ranked, a list for each row, or one list where all rows share it; without duplicates and item
// 0. `only` is not NULL.
ItemLists allowed_of(const recblr_top_items& a);

}  // namespace recblr
