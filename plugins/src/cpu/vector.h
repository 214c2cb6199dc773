// Vectors of float32 of the instruction set that a file is compiled for, in its namespace RECBLR_ISA. No templates of
// the standard library here: a copy of one compiled for this instruction set could replace the one that all machines
// use.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace recblr {
namespace RECBLR_ISA {
namespace {

#if defined(__AVX512F__) || defined(__AVX2__)

inline float sum_of_8(__m256 value) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
}

#endif

#if defined(__AVX512F__)

using Vector = __m512;
constexpr int kLanes = 16;

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector broadcast(float value) { return _mm512_set1_ps(value); }
inline Vector load_vector(const float* from) { return _mm512_loadu_ps(from); }
inline void store_vector(float* to, Vector value) { _mm512_storeu_ps(to, value); }
inline Vector multiply_add(Vector a, Vector b, Vector sum) { return _mm512_fmadd_ps(a, b, sum); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline float sum_of_lanes(Vector value) {
  alignas(64) float lanes[kLanes];  // through memory: GCC 12 warns of the intrinsics that extract a half
  _mm512_store_ps(lanes, value);
  return sum_of_8(_mm256_add_ps(_mm256_load_ps(lanes), _mm256_load_ps(lanes + 8)));
}
using Mask = __mmask16;
// The lanes where the score is above the threshold or not a number.
inline Mask above(Vector score, Vector threshold) { return _mm512_cmp_ps_mask(score, threshold, _CMP_NLE_UQ); }
inline Mask either(Mask a, Mask b) { return _kor_mask16(a, b); }
// A bit per lane.
inline unsigned bits_of(Mask mask) { return mask; }

#elif defined(__AVX2__)

using Vector = __m256;
constexpr int kLanes = 8;

inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector broadcast(float value) { return _mm256_set1_ps(value); }
inline Vector load_vector(const float* from) { return _mm256_loadu_ps(from); }
inline void store_vector(float* to, Vector value) { _mm256_storeu_ps(to, value); }
inline Vector multiply_add(Vector a, Vector b, Vector sum) { return _mm256_fmadd_ps(a, b, sum); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline float sum_of_lanes(Vector value) { return sum_of_8(value); }
using Mask = __m256;
inline Mask above(Vector score, Vector threshold) { return _mm256_cmp_ps(score, threshold, _CMP_NLE_UQ); }
inline Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
inline unsigned bits_of(Mask mask) { return static_cast<unsigned>(_mm256_movemask_ps(mask)); }

#else

typedef float Vector __attribute__((vector_size(16)));
constexpr int kLanes = 4;

inline Vector zero() { return Vector{}; }
inline Vector broadcast(float value) { return Vector{value, value, value, value}; }
inline Vector load_vector(const float* from) {
  Vector value;
  memcpy(&value, from, sizeof value);
  return value;
}
inline void store_vector(float* to, Vector value) { memcpy(to, &value, sizeof value); }
inline Vector multiply_add(Vector a, Vector b, Vector sum) { return a * b + sum; }
inline Vector add(Vector a, Vector b) { return a + b; }
inline float sum_of_lanes(Vector value) { return (value[0] + value[2]) + (value[1] + value[3]); }
typedef int32_t Mask __attribute__((vector_size(16)));
inline Mask above(Vector score, Vector threshold) { return ~(score <= threshold); }
inline Mask either(Mask a, Mask b) { return a | b; }
inline unsigned bits_of(Mask mask) {
  return (mask[0] & 1u) | (mask[1] & 1u) << 1 | (mask[2] & 1u) << 2 | (mask[3] & 1u) << 3;
}

#endif

}  // namespace
}  // namespace RECBLR_ISA
}  // namespace recblr
