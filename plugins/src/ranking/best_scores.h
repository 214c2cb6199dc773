// The best of a row's scores.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/crossovers.h"
#include "ranking/key.h"
#include "ranking/score_kernels.h"

namespace recblr {

// Whether `low_threshold` finds one for so many scores.
constexpr bool has_low_threshold(int64_t n_scores, int64_t k) {
  return k <= kScoreGroups / 2 && n_scores >= kFewestScoresPerGroup * kScoreGroups;
}

// A threshold that each of a row's k best scores passes, and few others: at least k groups have a score above it.
// -infinity where there are too few scores, or infinite ones. NaN is passed over. `largest` is memory.
float low_threshold(const ScoreKernels& kernels, const float* scores, int64_t n_scores, int64_t k,
                    std::vector<float>* largest);

// Writes the k best, best first; item 0 and -infinity where there are no more. Sorts the keys, and cuts them to k.
void write_best(std::vector<Key>* keys, int64_t k, int32_t* top_items, float* top_scores);

}  // namespace recblr
