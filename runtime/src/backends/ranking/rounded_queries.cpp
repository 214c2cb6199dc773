// Rounds queries for an item index.
#include "backends/ranking/rounded_queries.h"

#include "backends/ranking/rounded.h"

namespace recblr {

RoundedQueries::RoundedQueries(const float* queries, int64_t n_rows, const recblr_item_index& index,
                               const IndexKernels& kernels)
    : quads_(index.quads) {
  while (size_ < 2 && n_rows <= kernels.group_rows[size_ + 1]) ++size_;
  const int64_t group_rows = kernels.group_rows[size_];
  n_groups_ = (n_rows + group_rows - 1) / group_rows;
  const size_t padded = static_cast<size_t>(n_groups_ * group_rows + kMostIndexRows);
  starts_.resize(padded);
  inverse_scales_.assign(padded, 1.0f);
  norms_.resize(padded);
  errors_.resize(padded);
  values_.resize(static_cast<size_t>(n_groups_ * group_rows * quads_ * 4));
  std::vector<int8_t> rounded(static_cast<size_t>(index.dim));
  for (int64_t row = 0; row < n_rows; ++row) {
    const float* query = queries + row * index.dim;
    const float scale = scale_of(query, index.dim, kernels.query_levels);
    const Rounded of_query = round_vector(query, index.dim, scale, rounded.data());
    int8_t* values = values_.data() + (row / group_rows * quads_ * group_rows + row % group_rows) * 4;
    int32_t sum = 0;
    for (int64_t d = 0; d < index.dim; ++d) {
      const int8_t value = rounded[static_cast<size_t>(d)];
      sum += value;
      values[d / 4 * group_rows * 4 + d % 4] = value;
    }
    const size_t at = static_cast<size_t>(row);
    // A float32 sum of n products is off by at most n 2^-24 times that of their absolute values, which |x| |w| bounds.
    const float own = static_cast<float>(index.dim) * 0x1.1p-24f * of_query.norm;
    starts_[at] = -index.offset * sum;
    inverse_scales_[at] = inverse_of(scale);
    norms_[at] = of_query.rounded;
    errors_[at] = (of_query.error + own) * (1.0f + 0x1p-20f);
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

}  // namespace recblr
