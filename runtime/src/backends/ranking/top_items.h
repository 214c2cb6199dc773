// The exact ranking of a catalogue of any size, in bounded memory: scores are never kept for all items.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/ranking/pass.h"
#include "backends/ranking/ranked_items.h"

namespace recblr {

struct TopItemsScratch {
  std::vector<RankedRow> rows;  // to be ranked; their order changes
  PassScratch pass;

  int64_t bytes() const { return pass.bytes() + static_cast<int64_t>(rows.capacity() * sizeof(RankedRow)); }
};

// Ranks scratch->rows, in at most `threads` threads. Equal scores rank by the smaller item, NaN before all others; a
// score of -inf is not ranked. A row with fewer than k items to rank is filled up with item 0 and -inf. Results do not
// depend on the number of threads, nor a row's on the other rows or on how its items are allowed, bit for bit. Memory
// is O(k threads) for each row, and at most about 64 MiB where that is enough for one row.
void top_items(const RankedItems& items, int threads, const ThreadPool& pool, TopItemsScratch* scratch);

}  // namespace recblr
