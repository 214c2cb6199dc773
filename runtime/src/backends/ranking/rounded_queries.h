// Queries rounded to 8 bits, in the order in which an index's kernels read them.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/ranking/item_index.h"

namespace recblr {

class RoundedQueries {
 public:
  // Rounds queries, float32 [n_rows, index.dim], for the scans of these kernels.
  RoundedQueries(const float* queries, int64_t n_rows, const recblr_item_index& index, const IndexKernels& kernels);

  // Which of IndexKernels::scan takes them: the one of the smallest group that holds all rows, else the largest.
  int size() const { return size_; }

  // A scan of them, whose panels and hits are to be filled in. `thresholds` are [n_rows + kMostIndexRows], infinity
  // behind the rows. Valid as long as this object.
  IndexScan scan(const float* thresholds) const;

 private:
  int64_t quads_, n_groups_ = 0;
  int size_ = 0;
  std::vector<int8_t> values_;
  std::vector<int32_t> starts_;
  std::vector<float> inverse_scales_, norms_, errors_;
};

}  // namespace recblr
