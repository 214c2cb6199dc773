// Queries rounded to 8 bits, in the order in which an index's kernels read them.
#pragma once

#include <cstdint>

#include "backends/ranking/item_index.h"
#include "backends/scratch.h"

namespace recblr {

class RoundedQueries {
 public:
  // Rounds queries, float32 [n_rows, index.dim], for the scans of these kernels, in place of those before.
  void round(const float* queries, int64_t n_rows, const ItemIndex& index, const IndexKernels& kernels);

  // Which of IndexKernels::scan takes them: the one of the smallest group that holds all rows, else the largest.
  int size() const { return size_; }

  // A scan of them, whose panels and hits are to be filled in. `thresholds` are [n_rows + kMostIndexRows], infinity
  // behind the rows. Valid until others are rounded.
  IndexScan scan(const float* thresholds) const;

  int64_t bytes() const;

 private:
  int64_t quads_ = 0, n_groups_ = 0;
  int size_ = 0;
  Buffer<int8_t> values_, rounded_;
  Buffer<int32_t> starts_;
  Buffer<float> inverse_scales_, norms_, errors_;
};

}  // namespace recblr
