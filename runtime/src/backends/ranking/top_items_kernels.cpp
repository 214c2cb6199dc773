// Scores of items for groups of rows, in registers only: what does not pass its row's threshold is never stored.
// Compiled once per instruction set, with RECBLR_ISA its namespace. No templates of the standard library here: a copy
// of one compiled for this instruction set could replace the one that all machines use.
#include "backends/ranking/top_items_kernels.h"

#include <string.h>

#include "cpu/vector.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

// As many as the registers hold sums for.
constexpr int kItems = kLanes == 16 ? 12 : 6;

// The processor's own prefetcher does not follow so many items read side by side.
constexpr int kTilesAhead = 4;

static_assert(kItems % 3 == 0 && kItems <= kMostTileItems && 2 * kLanes <= kMostGroupRows);

inline float element(const unsigned char* from) {
  float value;
  memcpy(&value, from, sizeof value);
  return value;
}

template <int kVectors>
int64_t scan(TopItemsScan* s) {
  constexpr int kRows = kVectors * kLanes;
  const int64_t stride = s->dim * static_cast<int64_t>(sizeof(float));
  const unsigned char* tile = static_cast<const unsigned char*>(s->items);
  Vector thresholds[kVectors];
  for (int v = 0; v < kVectors; ++v) thresholds[v] = load_vector(s->thresholds + v * kLanes);
  s->n_hits = 0;
  for (int64_t done = 0; done < s->n_tiles; ++done, tile += kItems * stride) {
    Vector sums[kItems][kVectors];
#pragma GCC unroll 12
    for (int i = 0; i < kItems; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[i][v] = zero();
    }
    // One pointer for three items: one each would not fit the registers.
    const unsigned char* items[kItems / 3];
    for (int i = 0; i < kItems / 3; ++i) items[i] = tile + 3 * i * stride;
    const float* queries = s->queries;
    uintptr_t ahead = reinterpret_cast<uintptr_t>(tile + kItems * stride) + (kTilesAhead - 1) * kItems * stride;
    for (int64_t d = 0; d < s->dim; ++d, queries += kRows, ahead += kItems * sizeof(float)) {
      __builtin_prefetch(reinterpret_cast<const void*>(ahead));  // beyond the last item, it does nothing
      Vector query[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) query[v] = load_vector(queries + v * kLanes);
#pragma GCC unroll 12
      for (int i = 0; i < kItems; ++i) {
        const Vector item = broadcast(element(items[i / 3] + i % 3 * stride));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sums[i][v] = multiply_add(item, query[v], sums[i][v]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < kItems / 3; ++i) items[i] += sizeof(float);
    }
    Mask any = above(sums[0][0], thresholds[0]);
#pragma GCC unroll 12
    for (int i = 0; i < kItems; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) any = either(any, above(sums[i][v], thresholds[v]));
    }
    if (bits_of(any) == 0) continue;
#pragma GCC unroll 12
    for (int i = 0; i < kItems; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        unsigned left = bits_of(above(sums[i][v], thresholds[v]));
        if (left == 0) continue;
        float scores[kLanes];
        store_vector(scores, sums[i][v]);
        for (; left != 0; left &= left - 1) {
          const int lane = __builtin_ctz(left);
          s->hits[s->n_hits++] = {v * kLanes + lane, static_cast<int32_t>(done * kItems + i), scores[lane]};
        }
      }
    }
    return done + 1;
  }
  return s->n_tiles;
}

}  // namespace

TopItemsKernels top_items_kernels() { return {kItems, {kLanes, 2 * kLanes}, {scan<1>, scan<2>}}; }

}  // namespace RECBLR_ISA
}  // namespace recblr
