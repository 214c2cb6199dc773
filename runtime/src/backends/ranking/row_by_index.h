// Ranks a row by an index of a small catalogue: every score is bounded from below in 8 bits, and only items whose score
// may exceed the k-th best bound are scored. For few rows: more share a reading of the items, which is sooner done.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/ranking/key.h"
#include "backends/ranking/ranked_items.h"
#include "backends/ranking/rounded_queries.h"
#include "backends/scratch.h"

namespace recblr {

// Memory that a worker uses again for each row.
struct RowScratch {
  RoundedQueries query;
  Buffer<float> bounds, scores;
  Buffer<IndexHit> hits;
  std::vector<float> largest;
  std::vector<Key> keys;

  // Room for a row of such items, so that ranking one takes no more.
  void reserve(const RankedItems& items);
  int64_t bytes() const;
};

// Ranks a row without an allow-list as scoring all items would; `items` have an index. Returns false, with nothing
// written, where too many items would have to be scored, or `has_low_threshold` is false.
bool rank_row_by_index(const RankedItems& items, const RankedRow& row, RowScratch* scratch);

}  // namespace recblr
