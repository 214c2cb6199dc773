// The most popular items, for users of whom nothing is known.
#pragma once

#include "backends/backend.h"
#include "bundle/vocabulary.h"

namespace recblr {

// Ranks the items that a row may have by their counts, most popular first, equally popular ones by index: writes
// row.top_items and row.top_scores, the counts as float32, at most `k`, and returns how many. Takes no memory.
int64_t rank_popular(const Vocabulary& vocabulary, const Row& row, int64_t k);

}  // namespace recblr
