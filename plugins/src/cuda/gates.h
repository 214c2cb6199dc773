// The recurrence's elementwise arithmetic. One definition for all kernels: with -fmad=false and fmaf written out, each
// strategy rounds alike, and a row's result is the same bit for bit whichever is taken.
#pragma once

#include "cuda/platform.h"

namespace recblr {
namespace cuda {

constexpr float kSqrtEpsilon = 1e-8f;

__device__ inline float sigmoid(float x) { return fast_reciprocal(1.0f + fast_exp(-x)); }

__device__ inline float silu(float x) { return x * sigmoid(x); }

// d silu(x) / dx, given sigmoid(x).
__device__ inline float silu_slope(float x, float open) { return open * (1.0f + x * (1.0f - open)); }

__device__ inline float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

struct Gates {
  float r, i, alpha, norm, inverse_norm;  // norm = sqrt(1 - alpha^2 + epsilon)
};

// From the pre-activations and rate = softplus(decay).
__device__ inline Gates open_gates(float r, float i, float rate) {
  Gates gates;
  gates.r = sigmoid(r);
  gates.i = sigmoid(i);
  const float u = -rate * gates.r;
  // 1 - exp(u) near 0 by its series: from it follow alpha and 1 - alpha^2 without cancellation.
  float series = fmaf(u, 1.0f / 5040.0f, 1.0f / 720.0f);
  series = fmaf(u, series, 1.0f / 120.0f);
  series = fmaf(u, series, 1.0f / 24.0f);
  series = fmaf(u, series, 1.0f / 6.0f);
  series = fmaf(u, series, 0.5f);
  series = fmaf(u, series, 1.0f);
  const float near_fall = -u * series;
  const float far_alpha = fast_exp(u);
  const bool near = u > -0.5f;
  gates.alpha = near ? 1.0f - near_fall : far_alpha;
  const float fall = near ? near_fall : 1.0f - far_alpha;
  const float square = fmaf(fall, 1.0f + gates.alpha, kSqrtEpsilon);
  gates.inverse_norm = fast_rsqrt(square);
  gates.norm = square * gates.inverse_norm;
  return gates;
}

}  // namespace cuda
}  // namespace recblr
