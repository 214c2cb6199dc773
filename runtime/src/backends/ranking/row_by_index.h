// Ranks a row by an index of a small catalogue: every score is bounded from below in 8 bits, and only items whose score
// may exceed the k-th best bound are scored. For few rows: more share a reading of the items, which is sooner done.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/ranking/item_index.h"
#include "backends/ranking/key.h"
#include "backends/ranking/score_kernels.h"

namespace recblr {

// Memory that a worker uses again for each row.
struct RowScratch {
  std::vector<float> bounds, largest, scores;
  std::vector<IndexHit> hits;
  std::vector<Key> keys;
};

// Of one model; `index`, `embedding` and the kernels must outlive it.
struct RowByIndex {
  const recblr_item_index& index;
  const IndexKernels& index_kernels;
  const ScoreKernels& kernels;
  const void* embedding;  // float32 [V + 1, D], at any address

  // Writes the k best items for a query [D] to top_items [k] and top_scores [k], as scoring all items would; where
  // there are fewer, item 0 and -infinity. `exclude` is [n_exclude, 2] of (row, item), of which only the item is read:
  // those are not ranked. Returns false, with nothing written, where too many items would have to be scored, or
  // `has_low_threshold` is false.
  bool rank(const float* query, const int32_t* exclude, int64_t n_exclude, int64_t k, RowScratch* scratch,
            int32_t* top_items, float* top_scores) const;
};

}  // namespace recblr
