// Scans of an item index: products of 8 bits, summed by fours. Compiled once per instruction set, with RECBLR_ISA its
// namespace. No templates of the standard library here: a copy of one compiled for this instruction set could replace
// the one that all machines use.
#include <immintrin.h>
#include <string.h>

#include "item_index.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

// The processor's own prefetcher starts too late: while one tile's sums are computed, it sees nothing of the next.
constexpr int kTilesAhead = 2;

#if defined(__AVX512VNNI__)

constexpr int32_t kLevels = 127;
using Panel = __m512i;  // a number for each item
using Four = __m512i;   // the same four values of a query for each item

inline Panel fill(int32_t value) { return _mm512_set1_epi32(value); }
inline Four four_of(int32_t values) { return _mm512_set1_epi32(values); }
inline Panel load_items(const uint8_t* from) { return _mm512_load_si512(from); }

// _mm512_dpbusd_epi32, with which GCC 12 moves sums from register to register.
inline void add_products(Panel* sums, Panel items, Four query) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*sums) : "v"(items), "v"(query));
}

using Mask = __mmask16;
inline Mask passing(Panel sums, int32_t least) { return _mm512_cmpge_epi32_mask(sums, _mm512_set1_epi32(least)); }
inline Mask either(Mask a, Mask b) { return _kor_mask16(a, b); }

#else

constexpr int32_t kLevels = 63;  // two products of 127 and 2 x 63 + 1 are summed in 16 bits
struct Panel {
  __m256i low, high;
};
using Four = __m256i;

inline Panel fill(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
inline Four four_of(int32_t values) { return _mm256_set1_epi32(values); }
inline Panel load_items(const uint8_t* from) {
  const __m256i* halves = reinterpret_cast<const __m256i*>(from);
  return {_mm256_load_si256(halves), _mm256_load_si256(halves + 1)};
}

inline __m256i sums_of_four(__m256i items, Four query) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(items, query), _mm256_set1_epi16(1));
}
inline void add_products(Panel* sums, Panel items, Four query) {
  sums->low = _mm256_add_epi32(sums->low, sums_of_four(items.low, query));
  sums->high = _mm256_add_epi32(sums->high, sums_of_four(items.high, query));
}

using Mask = unsigned;
inline Mask passing(Panel sums, int32_t least) {
  const __m256i bound = _mm256_set1_epi32(least);
  const auto below = [bound](__m256i half) {
    return static_cast<Mask>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(bound, half))));
  };
  return (below(sums.low) | below(sums.high) << 8) ^ 0xffffu;
}
inline Mask either(Mask a, Mask b) { return a | b; }

#endif

// The least sums of products with which an item of the panel may pass, per row of a group. Not comparable (a norm that
// is not finite, a threshold of -infinity): all pass.
inline __m256i least_sums(const IndexScan& s, int64_t row, const PanelBounds& panel) {
  const __m256 norms = _mm256_loadu_ps(s.norms + row), errors = _mm256_loadu_ps(s.errors + row);
  const __m256 bound =
      _mm256_fmadd_ps(errors, _mm256_set1_ps(panel.norm), _mm256_mul_ps(norms, _mm256_set1_ps(panel.error)));
  const __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(s.inverse_scales + row), _mm256_set1_ps(panel.inverse_scale));
  __m256 least = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(s.thresholds + row), bound), scale);
  // This function's own rounding: some units of 2^-24 of the result, and the conversion to whole numbers.
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), least);
  least = _mm256_sub_ps(_mm256_fnmadd_ps(magnitude, _mm256_set1_ps(0x1p-20f), least), _mm256_set1_ps(2.0f));
  // The minimum is its second operand where one is not a number; what is out of range becomes the smallest number.
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(0x1p30f), least));
}

// kPanels panels from `panel` on against one group. Returns false if the hits have no room.
template <int kRows, int kPanels, int kAhead>
inline bool scan_tile(IndexScan* s, int64_t panel, int64_t group, int64_t panel_ahead) {
  static_assert(kRows * kPanels * kIndexPanel <= kIndexTileHits);
  const int64_t panel_bytes = s->quads * 64;
  const uint8_t* items = s->items + panel * panel_bytes;
  const int64_t row = group * kRows;
  Panel sums[kRows][kPanels];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) sums[r][p] = fill(s->starts[row + r]);
  }
  const int64_t ahead = (panel_ahead - panel) * panel_bytes;
  const int8_t* queries = s->queries + group * s->quads * kRows * 4;
  for (int64_t quad = 0; quad < s->quads; ++quad, queries += kRows * 4, items += 64) {
    Panel of_items[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) of_items[p] = load_items(items + p * panel_bytes);
#pragma GCC unroll 8
    for (int p = 0; p < kAhead; ++p)
      __builtin_prefetch(items + ahead + p * panel_bytes);  // beyond the last item, nothing
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      int32_t four;
      memcpy(&four, queries + r * 4, sizeof four);
      const Four query = four_of(four);
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) add_products(&sums[r][p], of_items[p], query);
    }
  }
  alignas(32) int32_t least[kPanels][kMostIndexRows];
  for (int p = 0; p < kPanels; ++p) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(least[p]), least_sums(*s, row, s->bounds[panel + p]));
  }
  __asm__("" : "+m"(least));  // compared with from memory, not with parts of the registers that were stored
  Mask any = 0;
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) any = either(any, passing(sums[r][p], least[p][r]));
  }
  if (any == 0) return true;
  if (s->most_hits - s->n_hits < kIndexTileHits) return false;
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
    const int32_t first = static_cast<int32_t>((panel + p) * kIndexPanel);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      for (unsigned left = passing(sums[r][p], least[p][r]); left != 0; left &= left - 1) {
        s->hits[s->n_hits++] = {static_cast<int32_t>(row) + r, first + __builtin_ctz(left)};
      }
    }
  }
  return true;
}

template <int kRows, int kPanels>
inline bool scan_tiles(IndexScan* s, int64_t panel) {
  const int64_t ahead = panel + kTilesAhead * kPanels;
  const bool shared = s->n_groups >= kPanels;
  for (int64_t group = 0; group < s->n_groups; ++group) {
    bool done;
    if (shared && group < kPanels) {
      done = scan_tile<kRows, kPanels, 1>(s, panel, group, ahead + group);
    } else if (group == 0) {
      done = scan_tile<kRows, kPanels, kPanels>(s, panel, group, ahead);
    } else {
      done = scan_tile<kRows, kPanels, 0>(s, panel, group, ahead);
    }
    if (!done) return false;
  }
  return true;
}

// All groups meet a tile before the next, so that the items come from memory in one even stream.
template <int kRows, int kPanels>
bool scan(IndexScan* s) {
  int64_t panel = 0;
  for (; panel + kPanels <= s->n_panels; panel += kPanels) {
    if (!scan_tiles<kRows, kPanels>(s, panel)) return false;
  }
  for (; panel < s->n_panels; ++panel) {
    if (!scan_tiles<kRows, 1>(s, panel)) return false;
  }
  return true;
}

constexpr int kChains = 8;  // sums that are computed side by side, as each product waits for the one before

void score(const IndexHit* hits, int64_t n_hits, const float* queries, const void* embedding, int64_t first_item,
           int64_t dim, float* scores) {
  const unsigned char* vectors = static_cast<const unsigned char*>(embedding);
  const int64_t stride = dim * static_cast<int64_t>(sizeof(float));
  for (int64_t first = 0; first < n_hits; first += kChains) {
    const float* query[kChains];
    const unsigned char* item[kChains];
    for (int c = 0; c < kChains; ++c) {
      const IndexHit& hit = hits[first + c < n_hits ? first + c : n_hits - 1];
      query[c] = queries + hit.row * dim;
      item[c] = vectors + (first_item + hit.item) * stride;
    }
    float sums[kChains] = {};
    for (int64_t d = 0; d < dim; ++d) {
#pragma GCC unroll 8
      for (int c = 0; c < kChains; ++c) {
        float value;
        memcpy(&value, item[c] + d * static_cast<int64_t>(sizeof value), sizeof value);
        sums[c] = __builtin_fmaf(value, query[c][d], sums[c]);
      }
    }
    for (int c = 0; c < kChains && first + c < n_hits; ++c) scores[first + c] = sums[c];
  }
}

}  // namespace

// As many panels at once as the registers hold sums for.
IndexKernels index_kernels() {
#if defined(__AVX512VNNI__)
  return {kLevels, {8, 4, 1}, {scan<8, 3>, scan<4, 6>, scan<1, 8>}, score};
#else
  return {kLevels, {4, 2, 1}, {scan<4, 1>, scan<2, 2>, scan<1, 4>}, score};
#endif
}

}  // namespace RECBLR_ISA
}  // namespace recblr
