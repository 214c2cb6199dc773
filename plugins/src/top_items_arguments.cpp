#include "top_items_arguments.h"

#include <algorithm>
#include <limits>
#include <string>

#include "item_index.h"

namespace recblr {

std::string problem_with(const recblr_top_items& a) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max() - 1;
  const auto outside = [](const char* what, int64_t value, int64_t least, int64_t largest) {
    return std::string(what) + " is " + std::to_string(value) + ": it must be from " + std::to_string(least) + " to " +
           std::to_string(largest);
  };
  const struct {
    const char* name;
    int64_t value, least;
  } sizes[] = {{"n_rows", a.n_rows, 0}, {"n_items", a.n_items, 0}, {"dim", a.dim, 1}, {"k", a.k, 1}};
  for (const auto& size : sizes) {
    if (size.value < size.least || size.value > most) return outside(size.name, size.value, size.least, most);
  }
  if (a.n_exclude < 0 || a.n_only < 0) {
    return outside(a.n_exclude < 0 ? "n_exclude" : "n_only", std::min(a.n_exclude, a.n_only), 0,
                   std::numeric_limits<int64_t>::max());
  }
  if (a.n_rows == 0) return "";
  if (a.queries == nullptr || a.embedding == nullptr || a.top_items == nullptr || a.top_scores == nullptr) {
    return "queries, embedding, top_items or top_scores is NULL";
  }
  if (a.index != nullptr && (a.index->n_items != a.n_items || a.index->dim != a.dim)) {
    return "index is of " + std::to_string(a.index->n_items) + " items of dim " + std::to_string(a.index->dim) +
           ", the embedding of " + std::to_string(a.n_items) + " of dim " + std::to_string(a.dim);
  }
  if (a.exclude == nullptr && a.n_exclude > 0) return "exclude is NULL, but n_exclude is not 0";
  for (int64_t at = 0; at < a.n_exclude; ++at) {
    const int32_t row = a.exclude[2 * at], item = a.exclude[2 * at + 1];
    if (row < 0 || row >= a.n_rows) return outside("a row of exclude", row, 0, a.n_rows - 1);
    if (item < 0 || item > a.n_items) return outside("an item of exclude", item, 0, a.n_items);
  }
  if (a.only == nullptr) return a.n_only > 0 || a.only_offsets != nullptr ? "only is NULL, but it has a size" : "";
  for (int64_t at = 0; at < a.n_only; ++at) {
    if (a.only[at] < 0 || a.only[at] > a.n_items) return outside("an item of only", a.only[at], 0, a.n_items);
  }
  if (a.only_offsets == nullptr) return "";
  if (a.only_offsets[0] != 0 || a.only_offsets[a.n_rows] != a.n_only) {
    return "only_offsets must go from 0 to n_only = " + std::to_string(a.n_only);
  }
  for (int64_t row = 0; row < a.n_rows; ++row) {
    if (a.only_offsets[row + 1] < a.only_offsets[row]) return "only_offsets fall after row " + std::to_string(row);
  }
  return "";
}

}  // namespace recblr
