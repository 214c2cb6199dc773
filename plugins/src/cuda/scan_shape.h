// How a scan is laid out on the GPU, from its sizes alone: lengths are on the device, and no one waits for them.
#pragma once

#include <algorithm>

#include "cuda/platform.h"

namespace recblr {
namespace cuda {

// A block of `lanes` x `segments` threads takes lanes * V channels and `segments` segments of one row at a time.
struct BlockShape {
  int lanes, segments;
  int64_t channel_blocks;
};

constexpr int kRowThreads = 128;    // a block's, where a thread takes a row
constexpr int kBlockThreads = 256;  // wanted, where a block takes a row
constexpr int kMostSegments = 256;  // side by side
constexpr int kMostThreads = 512;
constexpr int64_t kManyThreads = 65536;  // enough for rows in threads to fill a large GPU
constexpr int64_t kShortRow = 16;        // tokens; below, most threads of a block would have no segment

inline int power_of_two_from(int64_t value, int most) {
  int power = 1;
  while (power < value && power < most) power *= 2;
  return power;
}

inline bool rows_in_threads(const recblr_gated_scan& a, int vector) {
  if (a.strategy != RECBLR_BY_SHAPE) return a.strategy == RECBLR_ROWS_IN_THREADS;
  const int64_t mean_length = a.n_tokens / std::max<int64_t>(a.n_rows, 1);
  return mean_length < kShortRow || a.n_rows * divide_up(a.width, vector) >= kManyThreads;
}

inline BlockShape block_shape(const recblr_gated_scan& a, int vector) {
  const int64_t mean_length = divide_up(a.n_tokens, std::max<int64_t>(a.n_rows, 1));
  const int64_t packs = divide_up(a.width, vector);
  BlockShape shape;
  shape.segments = power_of_two_from(divide_up(mean_length, RECBLR_SEGMENT), kMostSegments);
  shape.lanes = power_of_two_from(packs, std::min(32, std::max(2, kBlockThreads / shape.segments)));
  shape.channel_blocks = divide_up(packs, shape.lanes);
  return shape;
}

}  // namespace cuda
}  // namespace recblr
