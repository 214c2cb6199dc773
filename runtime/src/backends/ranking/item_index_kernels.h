// What one instruction set offers to use a catalogue in 8 bits: by it most items are known to rank too low, so that
// their scores need not be computed. No templates of the standard library here: see cpu/vector.h.
//
// Items are rounded in panels: w = s q + e, q whole numbers within +-levels, s the panel's scale. So are
// queries: x = t p + f. Then x.w = t s (p.q) + f.w + t p.e, and by Cauchy and Schwarz the last two are at most
// |f| |w| + |t p| |e|. An item whose score could not pass a row's threshold even with that much added is left out; the
// others are scored in float32, as without an index.
#pragma once

#include <cstdint>

namespace recblr {

constexpr int64_t kIndexPanel = 16;                   // items of a panel
constexpr int64_t kMostIndexRows = 8;                 // rows of a group, at most
constexpr int64_t kIndexTileHits = 24 * kIndexPanel;  // room for the hits of a tile: a scan ends where there is less
constexpr int64_t kMostIndexDim = 4096;               // sums of products fit 32 bits, and rounding stays small

// Bounds for the items of one panel, each at least as large as the true value.
struct PanelBounds {
  float inverse_scale;  // 1 / s
  float norm;           // the largest |w|
  float error;          // the largest |e|
};

// An item that may pass its row's threshold.
struct IndexHit {
  int32_t row;
  int32_t item;  // counted from the scan's first
};

// A scan of consecutive panels for groups of rows, all of one size. What is filled up to whole groups and panels may be
// among the hits.
struct IndexScan {
  const uint8_t* items;         // [n_panels, quads, 16 items, 4 dimensions], at a cache line
  const PanelBounds* bounds;    // [n_panels]
  const int8_t* queries;        // p: [n_groups, quads, rows of a group, 4 dimensions]
  const int32_t* starts;        // -offset times the sum of p. This and the next: [rows, and kMostIndexRows]
  const float* thresholds;      // infinity for a row that is not there
  const float* inverse_scales;  // 1 / t
  const float* norms;           // |t p|
  const float* errors;          // |f|, and what float32's own rounding of the score adds
  int64_t n_groups;
  int64_t quads;  // of dimensions, an even number
  int64_t n_panels;
  IndexHit* hits;     // [most_hits]; a row's items ascend
  int64_t n_hits;     // found so far
  int64_t most_hits;  // at least kIndexTileHits
};

// What one instruction set offers to use an index.
struct IndexKernels {
  int32_t levels;         // q of items is from -levels to levels; an index of more cannot be used
  int32_t query_levels;   // q of queries likewise
  int64_t group_rows[3];  // rows of a group for each of `scan`, falling
  // Finds the items that may pass their row's threshold. False if the hits have no room: the scan is then incomplete.
  bool (*scan[3])(IndexScan* scan);
  // lower: [n_panels * 16], what the scores of the one row of a group are at least; -infinity where nothing is known.
  void (*lower_bounds)(const IndexScan& scan, float* lower);
  // scores: [n_hits], queries[row] . embedding[first_item + item] for each hit, in float32, summed in the order of the
  // dimensions as TopItemsKernels do. queries: [rows, dim]; embedding: float32 [.., dim] at any address.
  void (*score)(const IndexHit* hits, int64_t n_hits, const float* queries, const void* embedding, int64_t first_item,
                int64_t dim, float* scores);
};

#if defined(RECBLR_X86)
namespace avx2 {
IndexKernels index_kernels();
}
namespace avx512_vnni {
IndexKernels index_kernels();
}
#endif

// Those of the best instruction set that can use an index. Returns false where the machine has none, or RECBLR_CPU_ISA
// allows none; throws as instruction_set() does.
bool best_index_kernels(IndexKernels* kernels);

}  // namespace recblr
