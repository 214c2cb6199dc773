// Scans of an item index: products of 8 bits, summed by fours. Compiled once per instruction set, with RECBLR_ISA its
// namespace. No templates of the standard library here: a copy of one compiled for this instruction set could replace
// the one that all machines use.
#include "backends/ranking/item_index_kernels.h"

#include <immintrin.h>
#include <string.h>

namespace recblr {
namespace RECBLR_ISA {

namespace {

// The processor's own prefetcher starts too late: while one tile's sums are computed, it sees nothing of the next.
constexpr int kTilesAhead = 2;

inline int32_t load_four(const int8_t* values) {
  int32_t four;
  memcpy(&four, values, sizeof four);
  return four;
}

#if defined(__AVX512VNNI__)

constexpr int32_t kLevels = 127, kQueryLevels = 127;
constexpr int64_t kStepQuads = 1;
using Panel = __m512i;  // a number for each item

inline Panel fill(int32_t value) { return _mm512_set1_epi32(value); }
inline __m256i half_of(Panel sums, int half) {
  __m256i values;  // not by the intrinsics that extract a half: GCC 12 warns of them
  memcpy(&values, reinterpret_cast<const char*>(&sums) + half * sizeof values, sizeof values);
  return values;
}

// The products of kStepQuads quads of kRows queries and kPanels panels.
template <int kRows, int kPanels>
inline void add_products(Panel (&sums)[kRows][kPanels], const uint8_t* items, int64_t panel_bytes,
                         const int8_t* queries) {
  __m512i of_items[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) of_items[p] = _mm512_load_si512(items + p * panel_bytes);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m512i query = _mm512_set1_epi32(load_four(queries + r * 4));
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      // _mm512_dpbusd_epi32, with which GCC 12 moves sums from register to register.
      __asm__("vpdpbusd %2, %1, %0" : "+v"(sums[r][p]) : "v"(of_items[p]), "v"(query));
    }
  }
}

using Mask = __mmask16;
inline Mask passing(Panel sums, int32_t least) { return _mm512_cmpge_epi32_mask(sums, _mm512_set1_epi32(least)); }
inline Mask either(Mask a, Mask b) { return _kor_mask16(a, b); }

#else

// Items have more levels than queries, as the scale is that of 16 vectors.
constexpr int32_t kLevels = 72, kQueryLevels = 56;
static_assert(4 * (2 * kLevels + 1) * kQueryLevels < 1 << 15);  // four products are summed in 16 bits
constexpr int64_t kStepQuads = 2;
struct Panel {
  __m256i halves[2];
};

inline Panel fill(int32_t value) { return {{_mm256_set1_epi32(value), _mm256_set1_epi32(value)}}; }
inline __m256i half_of(const Panel& sums, int half) { return sums.halves[half]; }

template <int kRows, int kPanels>
inline void add_products(Panel (&sums)[kRows][kPanels], const uint8_t* items, int64_t panel_bytes,
                         const int8_t* queries) {
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m256i* of_items = reinterpret_cast<const __m256i*>(items + p * panel_bytes) + half;
      const __m256i first = _mm256_load_si256(of_items), second = _mm256_load_si256(of_items + 2);
      __asm__("" : "+r"(queries));  // read again for each half: the registers hold the sums and no more
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m256i query = _mm256_set1_epi32(load_four(queries + r * 4));
        const __m256i query_of_second = _mm256_set1_epi32(load_four(queries + (kRows + r) * 4));
        const __m256i pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(first, query), _mm256_maddubs_epi16(second, query_of_second));
        __m256i& sum = sums[r][p].halves[half];
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      }
    }
  }
}

using Mask = unsigned;
inline Mask passing(Panel sums, int32_t least) {
  const __m256i bound = _mm256_set1_epi32(least);
  const auto below = [bound](__m256i half) {
    return static_cast<Mask>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(bound, half))));
  };
  return (below(sums.halves[0]) | below(sums.halves[1]) << 8) ^ 0xffffu;
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
  // A threshold of infinity, with which nothing passes, stays comparable: less a part of itself, it would be no number.
  least = _mm256_min_ps(_mm256_set1_ps(0x1p60f), least);
  // This function's own rounding: some units of 2^-24 of the result, and the conversion to whole numbers.
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), least);
  least = _mm256_sub_ps(_mm256_fnmadd_ps(magnitude, _mm256_set1_ps(0x1p-20f), least), _mm256_set1_ps(2.0f));
  // The minimum is its second operand where one is not a number; what is out of range becomes the smallest number.
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(0x1p30f), least));
}

// Of kPanels panels from `panel` on and one group, less the offset.
template <int kRows, int kPanels, int kAhead>
inline void sum_products(const IndexScan& s, int64_t panel, int64_t group, int64_t panel_ahead,
                         Panel (&sums)[kRows][kPanels]) {
  const int64_t panel_bytes = s.quads * 64;
  const uint8_t* items = s.items + panel * panel_bytes;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) sums[r][p] = fill(s.starts[group * kRows + r]);
  }
  const int64_t ahead = (panel_ahead - panel) * panel_bytes;
  const int8_t* queries = s.queries + group * s.quads * kRows * 4;
  for (int64_t quad = 0; quad < s.quads;
       quad += kStepQuads, queries += kStepQuads * kRows * 4, items += kStepQuads * 64) {
#pragma GCC unroll 8
    for (int p = 0; p < kAhead; ++p) {
#pragma GCC unroll 2
      for (int q = 0; q < kStepQuads; ++q)
        __builtin_prefetch(items + ahead + p * panel_bytes + q * 64);  // beyond the last item, nothing
    }
    add_products(sums, items, panel_bytes, queries);
  }
}

// kPanels panels from `panel` on against one group. Returns false if the hits have no room.
template <int kRows, int kPanels, int kAhead>
inline bool scan_tile(IndexScan* s, int64_t panel, int64_t group, int64_t panel_ahead) {
  static_assert(kRows * kPanels * kIndexPanel <= kIndexTileHits);
  const int64_t row = group * kRows;
  Panel sums[kRows][kPanels];
  sum_products<kRows, kPanels, kAhead>(*s, panel, group, panel_ahead, sums);
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

template <int kPanels>
inline void bound_tile(const IndexScan& s, int64_t panel, float* lower) {
  Panel sums[1][kPanels];
  sum_products<1, kPanels, 0>(s, panel, 0, panel, sums);
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
    const PanelBounds& of_panel = s.bounds[panel + p];
    const float inverse = s.inverse_scales[0] * of_panel.inverse_scale;  // 0 where all products are
    const float scale = inverse > 0.0f ? 1.0f / inverse : 0.0f;
    const float bound = (s.errors[0] * of_panel.norm + s.norms[0] * of_panel.error) * (1.0f + 0x1p-20f);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(half_of(sums[0][p], half)), _mm256_set1_ps(scale));
      // This function's own rounding: some units of 2^-24 of the product.
      const __m256 slack = _mm256_fmadd_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), product), _mm256_set1_ps(0x1p-20f),
                                           _mm256_set1_ps(bound));
      // The maximum is its second operand where one is not a number.
      const __m256 least = _mm256_max_ps(_mm256_sub_ps(product, slack), _mm256_set1_ps(-__builtin_inff()));
      _mm256_storeu_ps(lower + (panel + p) * kIndexPanel + half * 8, least);
    }
  }
}

template <int kPanels>
void lower_bounds(const IndexScan& s, float* lower) {
  int64_t panel = 0;
  for (; panel + kPanels <= s.n_panels; panel += kPanels) bound_tile<kPanels>(s, panel, lower);
  for (; panel < s.n_panels; ++panel) bound_tile<1>(s, panel, lower);
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
  return {kLevels, kQueryLevels, {8, 4, 1}, {scan<8, 3>, scan<4, 6>, scan<1, 8>}, lower_bounds<8>, score};
#else
  return {kLevels, kQueryLevels, {4, 2, 1}, {scan<4, 1>, scan<2, 2>, scan<1, 4>}, lower_bounds<4>, score};
#endif
}

}  // namespace RECBLR_ISA
}  // namespace recblr
