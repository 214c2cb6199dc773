// Ranks a row by an index of a small catalogue: every score is bounded from below in 8 bits, and only items whose score
// may exceed the k-th best bound are scored. For few rows: more share a reading of the items, which is sooner done.
#pragma once

#include <cstdint>
#include <vector>

#include "ranking/item_index.h"
#include "ranking/key.h"
#include "ranking/score_kernels.h"

namespace recblr {

// Memory that is used again for each row.
struct RowScratch {
  std::vector<float> bounds, largest, scores;
  std::vector<IndexHit> hits;
  std::vector<Key> keys;
};

struct RowByIndex {
  const recblr_item_index& index;
  const IndexKernels& index_kernels;
  const ScoreKernels& kernels;
  const void* embedding;  // float32 [V + 1, D], at any address

  // Writes the k best for a query [D], without the `n_exclude` items that every second number of `exclude` names, as
  // scoring all items would. False, and nothing is written, where too many would have to be scored.
  bool rank(const float* query, const int32_t* exclude, int64_t n_exclude, int64_t k, RowScratch* scratch,
            int32_t* top_items, float* top_scores) const;
};

}  // namespace recblr
