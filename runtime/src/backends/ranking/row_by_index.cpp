#include "backends/ranking/row_by_index.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/ranking/best_scores.h"
#include "cpu/crossovers.h"

namespace recblr {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t panels_of(const RankedItems& items) { return (items.n_items + kIndexPanel - 1) / kIndexPanel; }

int64_t most_hits(const RankedItems& items) { return items.n_items / kItemsPerHitOfRow + kIndexTileHits; }

}  // namespace

void RowScratch::reserve(const RankedItems& items) {
  bounds.get(panels_of(items) * kIndexPanel);
  hits.get(most_hits(items));
  scores.get(most_hits(items));
  keys.reserve(static_cast<size_t>(most_hits(items)));
  largest.resize(kScoreGroups);
}

int64_t RowScratch::bytes() const {
  return query.bytes() + bounds.bytes() + scores.bytes() + hits.bytes() +
         static_cast<int64_t>(largest.capacity() * sizeof(float) + keys.capacity() * sizeof(Key));
}

bool rank_row_by_index(const RankedItems& items, const RankedRow& row, RowScratch* scratch) {
  if (!has_low_threshold(items.n_items, row.k)) return false;
  scratch->query.round(row.query, 1, *items.index, items.index_kernels);
  float thresholds[1 + kMostIndexRows];
  std::fill_n(thresholds, 1 + kMostIndexRows, kInfinity);
  IndexScan scan = scratch->query.scan(thresholds);
  scan.items = items.index->items;
  scan.bounds = items.index->bounds;
  scan.n_panels = panels_of(items);
  float* const bounds = scratch->bounds.get(scan.n_panels * kIndexPanel);
  items.index_kernels.lower_bounds(scan, bounds);
  for (int64_t at = 0; at < row.exclude.count; ++at) {
    bounds[row.exclude.items[at] - 1] = std::numeric_limits<float>::quiet_NaN();
  }
  thresholds[0] = low_threshold(items.score_kernels, bounds, items.n_items, row.k, &scratch->largest);
  if (!(thresholds[0] > -kInfinity)) return false;
  scan.most_hits = most_hits(items);
  scan.hits = scratch->hits.get(scan.most_hits);
  if (!items.index_kernels.scan[scratch->query.size()](&scan)) return false;
  int64_t n_hits = 0;
  for (int64_t at = 0; at < scan.n_hits; ++at) {
    const IndexHit hit = scan.hits[at];
    if (hit.row == 0 && hit.item < items.n_items && !std::isnan(bounds[hit.item])) scan.hits[n_hits++] = hit;
  }
  float* const scores = scratch->scores.get(n_hits);
  items.index_kernels.score(scan.hits, n_hits, row.query, items.embedding, 1, items.dim, scores);
  scratch->keys.clear();
  for (int64_t at = 0; at < n_hits; ++at) scratch->keys.push_back(key_of(scores[at], scan.hits[at].item + 1));
  write_best(&scratch->keys, row.k, row.top_items, row.top_scores);
  return true;
}

}  // namespace recblr
