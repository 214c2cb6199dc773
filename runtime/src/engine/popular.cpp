#include "engine/popular.h"

#include <algorithm>

namespace recblr {
namespace {

bool holds(const ItemList& list, int32_t item) { return std::binary_search(list.items, list.items + list.count, item); }

// The k best of a row's allowed items, by a heap with the worst of them on top: time grows with their number only.
int64_t best_allowed(const Vocabulary& vocabulary, const Row& row, int64_t k) {
  const auto is_better = [&vocabulary](int32_t a, int32_t b) {
    const int64_t count_a = vocabulary.count(a), count_b = vocabulary.count(b);
    return count_a != count_b ? count_a > count_b : a < b;
  };
  int32_t* best = row.top_items;
  int64_t n = 0;
  for (int64_t j = 0; j < row.only.count; ++j) {
    const int32_t item = row.only.items[j];
    if (holds(row.exclude, item)) continue;
    if (n < k) {
      best[n++] = item;
      std::push_heap(best, best + n, is_better);
    } else if (is_better(item, best[0])) {
      std::pop_heap(best, best + n, is_better);
      best[n - 1] = item;
      std::push_heap(best, best + n, is_better);
    }
  }
  std::sort_heap(best, best + n, is_better);
  return n;
}

}  // namespace

int64_t rank_popular(const Vocabulary& vocabulary, const Row& row, int64_t k) {
  int64_t n = 0;
  if (row.has_only) {
    n = best_allowed(vocabulary, row, k);
  } else {
    for (const int32_t item : vocabulary.popular()) {
      if (n == k) break;
      if (!holds(row.exclude, item)) row.top_items[n++] = item;
    }
  }
  for (int64_t j = 0; j < n; ++j) row.top_scores[j] = static_cast<float>(vocabulary.count(row.top_items[j]));
  return n;
}

}  // namespace recblr
