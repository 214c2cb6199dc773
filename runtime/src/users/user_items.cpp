#include "users/user_items.h"

#include <algorithm>

namespace recblr {

namespace {

constexpr int64_t kFew = 16;  // items that are put in their places one by one

void sort_unique(std::vector<int32_t>* items) {
  std::sort(items->begin(), items->end());
  items->erase(std::unique(items->begin(), items->end()), items->end());
}

}  // namespace

void UserItems::clear() {
  place = {};
  seen.clear();
  recent.clear();
  n_new = 0;
}

void UserItems::add(const int32_t* items, int64_t n, std::optional<int64_t> max_history) {
  if (!max_history) {
    std::copy_if(items, items + n, std::back_inserter(recent), [](int32_t item) { return item != 0; });
    n_new = static_cast<int64_t>(recent.size());
    return;
  }
  recent.insert(recent.end(), items, items + n);
  const int64_t beyond = static_cast<int64_t>(recent.size()) - *max_history;
  if (beyond > 0) recent.erase(recent.begin(), recent.begin() + beyond);
  n_new = std::min(n_new + n, *max_history);
}

void UserItems::feed(std::optional<int64_t> max_history, std::vector<int32_t>* fed) {
  const auto begin = static_cast<int64_t>(fed->size());
  std::copy_if(recent.end() - n_new, recent.end(), std::back_inserter(*fed), [](int32_t item) { return item != 0; });
  if (!max_history) {
    for (auto item = fed->begin() + begin; n_new <= kFew && item != fed->end(); ++item) {
      const auto place = std::lower_bound(seen.begin(), seen.end(), *item);
      if (place == seen.end() || *place != *item) seen.insert(place, *item);
    }
    if (n_new > kFew) {
      seen.insert(seen.end(), fed->begin() + begin, fed->end());
      sort_unique(&seen);
    }
    recent.clear();
  } else if (n_new > 0) {
    seen = recent;
    sort_unique(&seen);
    if (!seen.empty() && seen.front() == 0) seen.erase(seen.begin());
  }
  n_new = 0;
}

}  // namespace recblr
