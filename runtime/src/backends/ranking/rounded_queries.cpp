// Rounds queries for an item index.
#include "backends/ranking/rounded_queries.h"

#include <algorithm>

#include "backends/ranking/rounded.h"

namespace recblr {

void RoundedQueries::round(const float* queries, int64_t n_rows, const ItemIndex& index, const IndexKernels& kernels) {
  quads_ = index.quads;
  size_ = 0;
  while (size_ < 2 && n_rows <= kernels.group_rows[size_ + 1]) ++size_;
  const int64_t group_rows = kernels.group_rows[size_];
  n_groups_ = (n_rows + group_rows - 1) / group_rows;
  const int64_t padded = n_groups_ * group_rows + kMostIndexRows, n_values = n_groups_ * group_rows * quads_ * 4;
  int32_t* const starts = starts_.get(padded);
  float* const inverse_scales = inverse_scales_.get(padded);
  float* const norms = norms_.get(padded);
  float* const errors = errors_.get(padded);
  std::fill_n(starts, padded, 0);
  std::fill_n(inverse_scales, padded, 1.0f);
  std::fill_n(norms, padded, 0.0f);
  std::fill_n(errors, padded, 0.0f);
  int8_t* const all_values = values_.get(n_values);
  std::fill_n(all_values, n_values, int8_t{0});
  int8_t* const rounded = rounded_.get(index.dim);
  for (int64_t row = 0; row < n_rows; ++row) {
    const float* query = queries + row * index.dim;
    const float scale = scale_of(query, index.dim, kernels.query_levels);
    const Rounded of_query = round_vector(query, index.dim, scale, rounded);
    int8_t* values = all_values + (row / group_rows * quads_ * group_rows + row % group_rows) * 4;
    int32_t sum = 0;
    for (int64_t d = 0; d < index.dim; ++d) {
      const int8_t value = rounded[d];
      sum += value;
      values[d / 4 * group_rows * 4 + d % 4] = value;
    }
    // A float32 sum of n products is off by at most n 2^-24 times that of their absolute values, which |x| |w| bounds.
    const float own = static_cast<float>(index.dim) * 0x1.1p-24f * of_query.norm;
    starts[row] = -index.offset * sum;
    inverse_scales[row] = inverse_of(scale);
    norms[row] = of_query.rounded;
    errors[row] = (of_query.error + own) * (1.0f + 0x1p-20f);
  }
}

IndexScan RoundedQueries::scan(const float* thresholds) const {
  IndexScan scan{};
  scan.queries = values_.data();
  scan.starts = starts_.data();
  scan.thresholds = thresholds;
  scan.inverse_scales = inverse_scales_.data();
  scan.norms = norms_.data();
  scan.errors = errors_.data();
  scan.n_groups = n_groups_;
  scan.quads = quads_;
  return scan;
}

int64_t RoundedQueries::bytes() const {
  return values_.bytes() + rounded_.bytes() + starts_.bytes() + inverse_scales_.bytes() + norms_.bytes() +
         errors_.bytes();
}

}  // namespace recblr
