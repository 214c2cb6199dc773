#include "backends/ranking/row_by_index.h"

#include <cmath>
#include <limits>

#include "backends/ranking/best_scores.h"
#include "backends/ranking/rounded_queries.h"
#include "cpu/crossovers.h"

namespace recblr {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

bool RowByIndex::rank(const float* query, const int32_t* exclude, int64_t n_exclude, int64_t k, RowScratch* scratch,
                      int32_t* top_items, float* top_scores) const {
  if (!has_low_threshold(index.n_items, k)) return false;
  const RoundedQueries rounded(query, 1, index, index_kernels);
  std::vector<float> thresholds(1 + kMostIndexRows, kInfinity);
  IndexScan scan = rounded.scan(thresholds.data());
  scan.items = index.items;
  scan.bounds = index.bounds;
  scan.n_panels = (index.n_items + kIndexPanel - 1) / kIndexPanel;
  scratch->bounds.resize(static_cast<size_t>(scan.n_panels * kIndexPanel));
  float* const bounds = scratch->bounds.data();
  index_kernels.lower_bounds(scan, bounds);
  for (int64_t at = 0; at < n_exclude; ++at) {
    if (exclude[2 * at + 1] > 0) bounds[exclude[2 * at + 1] - 1] = std::numeric_limits<float>::quiet_NaN();
  }
  thresholds[0] = low_threshold(kernels, bounds, index.n_items, k, &scratch->largest);
  if (!(thresholds[0] > -kInfinity)) return false;
  scan.most_hits = index.n_items / kItemsPerHitOfRow + kIndexTileHits;
  scratch->hits.resize(static_cast<size_t>(scan.most_hits));
  scan.hits = scratch->hits.data();
  if (!index_kernels.scan[rounded.size()](&scan)) return false;
  int64_t n_hits = 0;
  for (int64_t at = 0; at < scan.n_hits; ++at) {
    const IndexHit hit = scan.hits[at];
    if (hit.row == 0 && hit.item < index.n_items && !std::isnan(bounds[hit.item])) scan.hits[n_hits++] = hit;
  }
  scratch->scores.resize(static_cast<size_t>(n_hits));
  index_kernels.score(scan.hits, n_hits, query, embedding, 1, index.dim, scratch->scores.data());
  scratch->keys.clear();
  for (int64_t at = 0; at < n_hits; ++at) {
    scratch->keys.push_back(key_of(scratch->scores[static_cast<size_t>(at)], scan.hits[at].item + 1));
  }
  write_best(&scratch->keys, k, top_items, top_scores);
  return true;
}

}  // namespace recblr
