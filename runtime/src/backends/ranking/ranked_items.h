// A catalogue's items as all ways of ranking read them, and what a row wants of them.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"
#include "backends/ranking/item_index.h"
#include "backends/ranking/score_kernels.h"
#include "backends/ranking/top_items_kernels.h"
#include "cpu/parallel.h"

namespace recblr {

// The kernels are those that RECBLR_CPU_ISA allows when it is made.
struct RankedItems {
  // `embedding` is float32 [n_items + 1, dim] at any address, and stays where it is; row 0 is no item. From
  // `fewest_indexed` items on there is an index where the machine can use one, made in at most `threads` threads.
  // Throws std::invalid_argument as instruction_set() does.
  RankedItems(const void* embedding, int64_t n_items, int64_t dim, int64_t fewest_indexed, int threads,
              const ThreadPool& pool);

  const void* embedding;
  int64_t n_items, dim;
  TopItemsKernels kernels;
  ScoreKernels score_kernels;
  IndexKernels index_kernels{};
  std::unique_ptr<const ItemIndex> index;  // NULL for none
  bool ranks_by_index;                     // whether `top_items` uses it: of fewer items it gains nothing
};

// What is to be ranked for one query, and where the result goes; the fields are those of Row.
struct RankedRow {
  const float* query;  // [D]
  ItemList exclude, only;
  bool has_only;
  int64_t k;  // at least 1; may exceed V
  int32_t* top_items;
  float* top_scores;

  // Of a row with a state of `state_size` numbers, the last `dim` of which are the query.
  static RankedRow of(const Row& row, int64_t state_size, int64_t dim) {
    return {
        row.state_out + state_size - dim, row.exclude, row.only, row.has_only, row.k, row.top_items, row.top_scores};
  }
};

// Whether a list, which ascends, has an item.
bool holds(const ItemList& list, int32_t item);

// Throws Error(kInvalidArgument) if the row's k is negative, or its lists do not begin and end within 1 to n_items.
void check_ranking(const Row& row, int64_t n_items);

}  // namespace recblr
