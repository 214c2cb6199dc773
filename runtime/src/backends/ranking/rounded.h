// Vectors rounded to 8 bits, and how far off that is.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace recblr {

// Bounds for a vector v = s q + e, where q are whole numbers and s is a scale. Each is at least as large as the true
// value; infinite where v is not finite, or so long that a product with another could overflow in float32.
struct Rounded {
  float norm;     // |v|
  float rounded;  // |s q|
  float error;    // |e|
};

// Returns the scale s with which the largest of the values becomes `levels`; values that are not finite take no part. 0
// for zeros, and for values so small that float32 might not hold their products: all is then in the error.
inline float scale_of(const float* values, int64_t count, int32_t levels) {
  float largest = 0.0f;
  for (int64_t at = 0; at < count; ++at) {
    if (std::isfinite(values[at])) largest = std::fmax(largest, std::fabs(values[at]));
  }
  return largest < 0x1p-50f ? 0.0f : largest / static_cast<float>(levels);
}

// Returns 1 / s, and 0 for the scale 0.
inline float inverse_of(float scale) { return scale > 0.0f ? 1.0f / scale : 0.0f; }

// Rounds a vector [dim] to q [dim] by a scale, and returns the bounds. What is not finite becomes 0.
inline Rounded round_vector(const float* vector, int64_t dim, float scale, int8_t* q) {
  double norm = 0.0, rounded = 0.0, error = 0.0;
  for (int64_t d = 0; d < dim; ++d) {
    const double value = vector[d];
    const double nearest = scale > 0.0f && std::isfinite(value) ? std::nearbyint(value / scale) : 0.0;
    q[d] = static_cast<int8_t>(nearest);
    const double held = nearest * scale;
    norm += value * value;
    rounded += held * held;
    error += (value - held) * (value - held);
  }
  // The last bits of sums and roots, and of their conversion.
  const bool within = norm < 0x1p120;  // NaN is not
  const auto upper = [within](double square) {
    return within ? static_cast<float>(std::sqrt(square) * (1 + 0x1p-20)) : std::numeric_limits<float>::infinity();
  };
  return {upper(norm), upper(rounded), upper(error)};
}

}  // namespace recblr
