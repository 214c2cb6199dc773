// Which tokens a row has, and where its segments are kept: the same on CPU and GPU.
#pragma once

#include <cstdint>

#include "recblr/plugins.h"

#if defined(__CUDACC__)
#define RECBLR_HOST_DEVICE __host__ __device__
#else
// Never a function of its own, which the linker could take from the objects of another instruction set.
#define RECBLR_HOST_DEVICE __attribute__((always_inline))
#endif

namespace recblr {

// The tokens begin to end - 1.
struct Row {
  int64_t begin, end;
};

// values[index], of the type RECBLR_INT32 or RECBLR_INT64.
RECBLR_HOST_DEVICE inline int64_t int_at(const void* values, int32_t type, int64_t index) {
  return type == RECBLR_INT32 ? static_cast<const int32_t*>(values)[index] : static_cast<const int64_t*>(values)[index];
}

template <typename Arguments>
RECBLR_HOST_DEVICE inline int64_t offset(const Arguments& a, int64_t index) {
  return int_at(a.offsets, a.offsets_type, index);
}

// Row `row`'s tokens. Within the array whatever the offsets say.
template <typename Arguments>
RECBLR_HOST_DEVICE inline Row row_of(const Arguments& a, int64_t row) {
  const int64_t from = offset(a, row), to = offset(a, row + 1);
  const int64_t begin = from < 0 ? 0 : from > a.n_tokens ? a.n_tokens : from;
  const int64_t end = to < begin ? begin : to > a.n_tokens ? a.n_tokens : to;
  return {begin, end};
}

// A stride of the ABI, where 0 stands for dense.
RECBLR_HOST_DEVICE inline int64_t stride_or(int64_t stride, int64_t dense) { return stride == 0 ? dense : stride; }

// Where in segment_h a row's segments begin. Rows never overlap: a row that begins at token b and has n tokens leaves
// place for floor((b % segment + n) / segment) + 1 >= ceil(n / segment) segments.
RECBLR_HOST_DEVICE inline int64_t first_segment(int64_t row_begin, int64_t row) {
  return row_begin / RECBLR_SEGMENT + row;
}

}  // namespace recblr
