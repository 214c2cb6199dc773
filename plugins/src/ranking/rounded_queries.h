// Queries rounded to 8 bits, in the order in which an index's kernels read them.
#pragma once

#include <cstdint>
#include <vector>

#include "ranking/item_index.h"

namespace recblr {

class RoundedQueries {
 public:
  // Of float32 [n_rows, dim].
  RoundedQueries(const float* queries, int64_t n_rows, const recblr_item_index& index, const IndexKernels& kernels);

  // Which of the kernels scans them.
  int size() const { return size_; }

  // A scan of them, but for the panels and the hits. Behind the rows' `thresholds` are kMostIndexRows more.
  IndexScan scan(const float* thresholds) const;

 private:
  int64_t quads_, n_groups_ = 0;
  int size_ = 0;
  std::vector<int8_t> values_;
  std::vector<int32_t> starts_;
  std::vector<float> inverse_scales_, norms_, errors_;
};

}  // namespace recblr
