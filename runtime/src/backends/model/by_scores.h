// Ranks a catalogue of moderate size by the scores of all items, or few rows of it by their index.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/model/native_model.h"
#include "backends/ranking/ranked_items.h"
#include "backends/ranking/row_by_index.h"
#include "backends/scratch.h"

namespace recblr {

// Memory that such a ranking uses again.
struct ByScoresScratch {
  struct Worker {
    Buffer<float> scores;
    Buffer<int32_t> found;
    RowScratch row;
  };

  std::vector<RankedRow> rows;  // to be ranked
  Buffer<float> queries;        // [rows, D]
  std::vector<Worker> workers;

  int64_t bytes() const;
};

// Ranks scratch->rows, none of which has an allow-list, in at most `threads` threads; the same, bit for bit, as
// `top_items`. The model has copies of the items, which are those of `items`.
void rank_by_scores(const NativeModel& model, const RankedItems& items, int threads, const ThreadPool& pool,
                    ByScoresScratch* scratch);

}  // namespace recblr
