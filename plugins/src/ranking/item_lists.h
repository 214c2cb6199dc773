// Lists of items, of rows: those a ranking leaves out, and those it may have.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "recblr/plugins.h"

namespace recblr {

// Each row's list of items, sorted.
struct ItemLists {
  std::vector<int64_t> offsets;
  std::vector<int32_t> items;

  const int32_t* begin(int64_t row) const { return items.data() + offsets[static_cast<size_t>(row)]; }
  const int32_t* end(int64_t row) const { return items.data() + offsets[static_cast<size_t>(row) + 1]; }
  bool hold(int64_t row, int32_t item) const { return std::binary_search(begin(row), end(row), item); }
  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t size(int64_t row) const { return end(row) - begin(row); }
};

ItemLists exclusions_of(const recblr_top_items& a);

// The allow-lists, without duplicates and item 0; one list where all rows share it.
ItemLists allowed_of(const recblr_top_items& a);

}  // namespace recblr
