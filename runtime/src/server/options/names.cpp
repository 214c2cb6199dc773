#include "server/options/names.h"

#include <algorithm>
#include <numeric>

namespace recblr::server {
namespace {

// How many characters are inserted, removed or changed between two names.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = i;
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

Option* find_option(const std::string& name, std::vector<Option>* list) {
  for (Option& option : *list) {
    if (name == option.name || (!option.alias.empty() && name == option.alias)) return &option;
  }
  return nullptr;
}

std::string nearest_name(const std::string& name, const std::vector<Option>& list) {
  constexpr size_t kLongest = 64;
  if (name.size() > kLongest) return "";
  size_t least = std::min<size_t>(3, name.size() / 3 + 1) + 1;
  std::string nearest;
  for (const Option& option : list) {
    for (const std::string& candidate : {option.name, option.alias}) {
      if (candidate.empty()) continue;
      if (const size_t changes = distance(name, candidate); changes < least) {
        least = changes;
        nearest = candidate;
      }
    }
  }
  return nearest;
}

}  // namespace recblr::server
