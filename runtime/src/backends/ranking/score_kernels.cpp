// Searches in a row's scores. Compiled once per instruction set, with RECBLR_ISA its namespace. No templates of the
// standard library here: a copy of one compiled for this instruction set could replace the one that all machines use.
#include "backends/ranking/score_kernels.h"

#include "cpu/vector.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

void largest_of_groups(const float* scores, int64_t count, float* largest) {
  for (int64_t group = 0; group < kScoreGroups; ++group) largest[group] = -__builtin_inff();
  for (int64_t first = 0; first < count; first += kScoreGroups) {
    const int64_t n = count - first < kScoreGroups ? count - first : kScoreGroups;
    for (int64_t i = 0; i < n; ++i) largest[i] = scores[first + i] > largest[i] ? scores[first + i] : largest[i];
  }
}

int64_t count_above(const float* values, int64_t count, float threshold) {
  const Vector limit = broadcast(threshold);
  int64_t n_above = 0;
  for (int64_t at = 0; at < count; at += kLanes) {
    n_above += __builtin_popcount(bits_of(above(load_vector(values + at), limit)));
  }
  return n_above;
}

int64_t find_above(const float* scores, int64_t count, float threshold, int32_t* found) {
  const Vector limit = broadcast(threshold);
  int64_t n_found = 0;
  for (int64_t at = 0; at < count; at += kLanes) {
    for (unsigned left = bits_of(above(load_vector(scores + at), limit)); left != 0; left &= left - 1) {
      found[n_found++] = static_cast<int32_t>(at) + __builtin_ctz(left);
    }
  }
  return n_found;
}

}  // namespace

ScoreKernels score_kernels() { return {largest_of_groups, count_above, find_above}; }

}  // namespace RECBLR_ISA
}  // namespace recblr
