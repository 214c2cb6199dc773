// The order in which items rank.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace recblr {

// A candidate as a number that is the larger the better it ranks: NaN, then by score, then the smaller item. No two
// candidates of a row are equal, so the k best do not depend on the order in which they are found.
using Key = uint64_t;

inline Key key_of(float score, int32_t item) {
  uint32_t bits = std::numeric_limits<uint32_t>::max();
  if (!std::isnan(score)) {
    score += 0.0f;  // -0 is equal to 0
    std::memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  return Key{bits} << 32 | ~static_cast<uint32_t>(item);
}

inline int32_t item_of(Key key) { return static_cast<int32_t>(~static_cast<uint32_t>(key)); }

inline float score_of(Key key) {
  uint32_t bits = static_cast<uint32_t>(key >> 32);
  if (bits == std::numeric_limits<uint32_t>::max()) return std::numeric_limits<float>::quiet_NaN();
  bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

}  // namespace recblr
