// What one instruction set offers to search in a row's scores.
#pragma once

#include <cstdint>

namespace recblr {

// Groups of a row's scores of which `largest_of_groups` gives the largest: score i is of group i % kScoreGroups.
constexpr int64_t kScoreGroups = 256;

struct ScoreKernels {
  // largest: [kScoreGroups], the largest of each group of `count` scores, -inf where it has none but NaN.
  void (*largest_of_groups)(const float* scores, int64_t count, float* largest);
  // How many of `count` values, a multiple of 16, are above the threshold or not a number.
  int64_t (*count_above)(const float* values, int64_t count, float threshold);
  // Places of the scores above the threshold or not a number, ascending; returns their number, for which `found` has
  // room. `count` is a multiple of 16.
  int64_t (*find_above)(const float* scores, int64_t count, float threshold, int32_t* found);
};

namespace baseline {
ScoreKernels score_kernels();
}
namespace avx2 {
ScoreKernels score_kernels();
}
namespace avx512 {
ScoreKernels score_kernels();
}

}  // namespace recblr
