// Finds the k best of a row's scores: first a threshold that few pass, then an order of what passed.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/ranking/key.h"
#include "backends/ranking/score_kernels.h"
#include "cpu/crossovers.h"

namespace recblr {

// Whether `low_threshold` finds a threshold for the k best of so many scores: k is at most half the groups, and there
// are several scores for each group.
constexpr bool has_low_threshold(int64_t n_scores, int64_t k) {
  return k <= kScoreGroups / 2 && n_scores >= kFewestScoresPerGroup * kScoreGroups;
}

// Returns a threshold that each of a row's k best scores is above, and few others: at least k groups of scores have one
// above it. -infinity where there are too few scores, or infinite ones. NaN takes no part. `largest` is memory that is
// used again.
float low_threshold(const ScoreKernels& kernels, const float* scores, int64_t n_scores, int64_t k,
                    std::vector<float>* largest);

// Writes the k best candidates, best first, to top_items [k] and top_scores [k]; item 0 and -infinity where there are
// fewer. Sorts the keys, and cuts them to k.
void write_best(std::vector<Key>* keys, int64_t k, int32_t* top_items, float* top_scores);

}  // namespace recblr
