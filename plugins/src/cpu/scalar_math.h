// Elementary functions and data types that compilers vectorise: no branches, no calls.
#pragma once

#include <cstdint>
#include <cstring>

namespace recblr {
namespace RECBLR_SCALAR_NAMESPACE {

// Added to 1 - alpha^2 in the recurrence: keeps the gradient of the square root finite where alpha is 1.
constexpr float kSqrtEpsilon = 1e-8f;

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// exp(x), within 2 units in the last place; x is held between -87.3 and 88.3. NaN stays NaN.
inline float exp_approximate(float x) {
  x = x < -87.3f ? -87.3f : x;
  x = x > 88.3f ? 88.3f : x;
  const float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which its low bits then hold
  const float shifted = x * 1.44269504f + to_integer;
  const float n = shifted - to_integer;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + r + 1.0f;
  const uint32_t exponent = (float_to_bits(shifted) + 127u) << 23;
  return p * bits_to_float(exponent);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exp_approximate(-x)); }

// 1 - exp(u) for -0.5 < u <= 0, without cancellation.
inline float one_minus_exp_near_zero(float u) {
  float series = 1.0f + u * (1.0f / 8.0f);
  series = 1.0f + u * (1.0f / 7.0f) * series;
  series = 1.0f + u * (1.0f / 6.0f) * series;
  series = 1.0f + u * (1.0f / 5.0f) * series;
  series = 1.0f + u * (1.0f / 4.0f) * series;
  series = 1.0f + u * (1.0f / 3.0f) * series;
  series = 1.0f + u * (1.0f / 2.0f) * series;
  return -u * series;
}

// 1 - exp(u) for u <= 0, without cancellation near 0.
inline float one_minus_exp(float u) {
  const float near = one_minus_exp_near_zero(u);
  const float far = 1.0f - exp_approximate(u);
  return u > -0.5f ? near : far;
}

// 1 - a^2 for 0 <= a <= 1 and u = 2 log(a), without cancellation near 1.
inline float one_minus_square(float a, float u) {
  const float near = one_minus_exp_near_zero(u);
  const float far = 1.0f - a * a;
  return u > -0.5f ? near : far;
}

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

inline float load(float value) { return value; }

inline float load(BFloat16 value) { return bits_to_float(static_cast<uint32_t>(value.bits) << 16); }

inline float load(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  // Exponents are rebased by a multiplication, which takes subnormal numbers along.
  const float scaled = bits_to_float(magnitude) * bits_to_float(0x77800000u);  // 2^112
  const uint32_t special = magnitude >= 0x0f800000u ? (magnitude | 0x7f800000u) : float_to_bits(scaled);
  return bits_to_float(sign | special);
}

inline void store(float value, float* to) { *to = value; }

// To the nearest, ties to even.
inline void store(float value, BFloat16* to) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  to->bits = static_cast<uint16_t>(value != value ? 0x7fc0u : rounded);
}

inline void store(float value, Half* to) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 0.5 puts the subnormal result, rounded, into the low bits.
  const uint32_t subnormal = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;  // rounds beyond the largest
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  to->bits = static_cast<uint16_t>(sign | half);
}

}  // namespace RECBLR_SCALAR_NAMESPACE
}  // namespace recblr
