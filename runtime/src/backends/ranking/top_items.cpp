// Which rows are ranked together, and whether by the whole catalogue or by their list.
#include "backends/ranking/top_items.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "cpu/crossovers.h"

namespace recblr {

namespace {

constexpr int64_t kCandidateBytes = int64_t{1} << 26;  // for all threads' candidates; more rows wait for a next pass

// Decides what a row is ranked by; rows of which all is equal share passes.
class Sorting {
 public:
  explicit Sorting(const RankedItems& items) : items_(items) {}

  // By an index, all items are met sooner than those of a long list are gathered.
  bool by_list(const RankedRow& row) const {
    return row.has_only && !(items_.ranks_by_index && row.only.count > items_.n_items / kItemsPerAllowed);
  }

  // Lists come last, equal ones together; before, rows for which an index pays stand apart from those of a large k.
  bool before(const RankedRow& a, const RankedRow& b) const {
    if (group(a) != group(b)) return group(a) < group(b);
    if (group(a) != kOwnList) return false;
    if (a.only.items != b.only.items) return std::less<const int32_t*>()(a.only.items, b.only.items);
    return a.only.count < b.only.count;
  }

 private:
  static constexpr int kAllItems = 0, kAllItemsDeep = 1, kOwnList = 2;

  int group(const RankedRow& row) const {
    if (by_list(row)) return kOwnList;
    const bool pays = items_.ranks_by_index && pays_by_index(kept_candidates(row.k, items_.n_items), items_.n_items);
    return pays ? kAllItems : kAllItemsDeep;
  }

  const RankedItems& items_;
};

// Ranks the candidates for rows, so many at once as the candidates' memory allows.
void rank(const RankedItems& items, Candidates candidates, const RankedRow* rows, int64_t n_rows, int most_threads,
          const ThreadPool& pool, PassScratch* scratch) {
  const int64_t products = candidates.count * items.dim * n_rows;
  const int64_t threads = std::max<int64_t>(1, std::min<int64_t>(most_threads, 1 + products / kProductsPerThread));
  const int64_t wide = items.kernels.group_rows[1];
  for (int64_t first = 0; first < n_rows;) {
    int64_t taken = 0, bytes = 0;
    while (first + taken < n_rows) {
      const int64_t kept = kept_candidates(rows[first + taken].k, candidates.count);
      bytes += threads * kept * static_cast<int64_t>(sizeof(Key));
      if (taken > 0 && bytes > kCandidateBytes) break;
      ++taken;
    }
    if (first + taken < n_rows && taken > wide) taken -= taken % wide;
    run_pass(items, candidates, rows + first, taken, threads, pool, scratch);
    first += taken;
  }
}

}  // namespace

void top_items(const RankedItems& items, int threads, const ThreadPool& pool, TopItemsScratch* scratch) {
  const Sorting sorting(items);
  std::vector<RankedRow>& rows = scratch->rows;
  const auto before = [&](const RankedRow& a, const RankedRow& b) { return sorting.before(a, b); };
  if (!std::is_sorted(rows.begin(), rows.end(), before)) std::sort(rows.begin(), rows.end(), before);
  const int64_t n_rows = static_cast<int64_t>(rows.size());
  for (int64_t first = 0, end = 0; first < n_rows; first = end) {
    const RankedRow& row = rows[static_cast<size_t>(first)];
    while (end < n_rows && !before(row, rows[static_cast<size_t>(end)])) ++end;
    const Candidates candidates =
        sorting.by_list(row) ? Candidates{row.only.items, row.only.count} : Candidates{nullptr, items.n_items};
    rank(items, candidates, rows.data() + first, end - first, threads, pool, &scratch->pass);
  }
}

}  // namespace recblr
