#include "backends/ranking/best_scores.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>

namespace recblr {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Halvings of an interval in which a threshold is sought.
constexpr int kHalvings = 12;

}  // namespace

float low_threshold(const ScoreKernels& kernels, const float* scores, int64_t n_scores, int64_t k,
                    std::vector<float>* largest) {
  if (!has_low_threshold(n_scores, k)) return -kInfinity;
  largest->resize(kScoreGroups);
  kernels.largest_of_groups(scores, n_scores, largest->data());
  const auto [least, most] = std::minmax_element(largest->begin(), largest->end());
  float low = *least, high = *most;
  if (!std::isfinite(low) || !std::isfinite(high)) return -kInfinity;
  // All groups pass what is below the least by more than a subnormal, which may count as zero.
  low -= std::abs(low) * 0x1p-20f + std::numeric_limits<float>::min();
  for (int halving = 0; halving < kHalvings; ++halving) {
    const float middle = low + (high - low) / 2;
    (kernels.count_above(largest->data(), kScoreGroups, middle) >= k ? low : high) = middle;
  }
  return low;
}

void write_best(std::vector<Key>* keys, int64_t k, int32_t* top_items, float* top_scores) {
  const size_t kept = std::min(keys->size(), static_cast<size_t>(k));
  std::partial_sort(keys->begin(), keys->begin() + static_cast<std::ptrdiff_t>(kept), keys->end(), std::greater<Key>());
  keys->resize(kept);
  for (int64_t rank = 0; rank < k; ++rank) {
    const bool there = rank < static_cast<int64_t>(kept);
    top_items[rank] = there ? item_of((*keys)[static_cast<size_t>(rank)]) : 0;
    top_scores[rank] = there ? score_of((*keys)[static_cast<size_t>(rank)]) : -kInfinity;
  }
}

}  // namespace recblr
