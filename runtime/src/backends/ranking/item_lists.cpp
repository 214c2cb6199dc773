// Sorts a request's lists of items by row.
#include "backends/ranking/item_lists.h"

#include <algorithm>

namespace recblr {

ItemLists exclusions_of(const recblr_top_items& a) {
  ItemLists lists{std::vector<int64_t>(static_cast<size_t>(a.n_rows) + 2), {}};
  lists.items.resize(static_cast<size_t>(a.n_exclude));
  // Counted one place further: filling the lists moves every offset to where the row's list starts.
  for (int64_t at = 0; at < a.n_exclude; ++at) ++lists.offsets[static_cast<size_t>(a.exclude[2 * at]) + 2];
  for (size_t at = 2; at < lists.offsets.size(); ++at) lists.offsets[at] += lists.offsets[at - 1];
  for (int64_t at = 0; at < a.n_exclude; ++at) {
    const int64_t place = lists.offsets[static_cast<size_t>(a.exclude[2 * at]) + 1]++;
    lists.items[static_cast<size_t>(place)] = a.exclude[2 * at + 1];
  }
  lists.offsets.pop_back();
  for (int64_t row = 0; row < a.n_rows; ++row) {
    int32_t* first = lists.items.data() + lists.offsets[static_cast<size_t>(row)];
    std::sort(first, lists.items.data() + lists.offsets[static_cast<size_t>(row) + 1]);
  }
  return lists;
}

ItemLists allowed_of(const recblr_top_items& a) {
  ItemLists lists{{0}, {}};
  lists.items.reserve(static_cast<size_t>(a.n_only));
  const int64_t shared[] = {0, a.n_only};
  const int64_t* offsets = a.only_offsets == nullptr ? shared : a.only_offsets;
  for (int64_t list = 0; list < (a.only_offsets == nullptr ? 1 : a.n_rows); ++list) {
    const auto first = lists.items.insert(lists.items.end(), a.only + offsets[list], a.only + offsets[list + 1]);
    if (!std::is_sorted(first, lists.items.end())) std::sort(first, lists.items.end());
    lists.items.erase(std::unique(first, lists.items.end()), lists.items.end());
    if (first != lists.items.end() && *first == 0) lists.items.erase(first);
    lists.offsets.push_back(static_cast<int64_t>(lists.items.size()));
  }
  return lists;
}

}  // namespace recblr
