#include "backends/ranking/ranked_items.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "cpu/crossovers.h"
#include "cpu/instruction_set.h"

namespace recblr {

namespace {

void check_list(const char* what, const ItemList& list, int64_t n_items) {
  if (list.count == 0) return;
  for (const int32_t item : {list.items[0], list.items[list.count - 1]}) {
    if (item >= 1 && item <= n_items) continue;
    refuse(Code::kInvalidArgument, "an item to " + std::string(what) + " is " + std::to_string(item) +
                                       ": it must be from 1 to " + std::to_string(n_items));
  }
}

}  // namespace

RankedItems::RankedItems(const void* embedding, int64_t n_items, int64_t dim, int64_t fewest_indexed, int threads,
                         const ThreadPool& pool)
    : embedding(embedding),
      n_items(n_items),
      dim(dim),
      kernels(best_of<TopItemsKernels()>(RECBLR_PER_INSTRUCTION_SET(top_items_kernels))()),
      score_kernels(best_of<ScoreKernels()>(RECBLR_PER_INSTRUCTION_SET(score_kernels))()) {
  if (n_items >= fewest_indexed && dim <= kMostIndexDim && best_index_kernels(&index_kernels)) {
    index = make_item_index(embedding, n_items, dim, index_kernels, threads, pool);
  }
  ranks_by_index = index != nullptr && n_items >= kFewestRankedByIndex;
}

bool holds(const ItemList& list, int32_t item) { return std::binary_search(list.items, list.items + list.count, item); }

void check_ranking(const Row& row, int64_t n_items) {
  if (row.k < 0) refuse(Code::kInvalidArgument, "k is " + std::to_string(row.k) + ": give at least 1");
  check_list("exclude", row.exclude, n_items);
  if (row.has_only) check_list("rank", row.only, n_items);
}

}  // namespace recblr
