// What one instruction set offers for ranking a catalogue.
#pragma once

#include <cstdint>

namespace recblr {

// Most items and rows that one tile of any instruction set scores together.
constexpr int64_t kMostTileItems = 12, kMostGroupRows = 32;

// A score that is above its row's threshold, or not a number.
struct TopItemsHit {
  int32_t row;   // of the group
  int32_t item;  // counted from the scan's first
  float score;
};

// Items, tile after tile, against one group of rows.
struct TopItemsScan {
  const float* queries;     // [dim, rows of the group]
  const float* thresholds;  // [rows of the group]
  const void* items;        // float32 [n_tiles * tile_items, dim], at any address
  int64_t dim;
  int64_t n_tiles;
  TopItemsHit* hits;  // room for a tile's; the scan's, in the order of the items
  int64_t n_hits;
};

// A score is the sum of the products in the order of the dimensions, the same in every tile and every group.
struct TopItemsKernels {
  int64_t tile_items;
  int64_t group_rows[2];  // of a narrow group and of a wide one
  // Scans until a tile has hits, or all are done; returns the number of tiles that are done.
  int64_t (*scan[2])(TopItemsScan* scan);
};

namespace baseline {
TopItemsKernels top_items_kernels();
}
namespace avx2 {
TopItemsKernels top_items_kernels();
}
namespace avx512 {
TopItemsKernels top_items_kernels();
}

}  // namespace recblr
