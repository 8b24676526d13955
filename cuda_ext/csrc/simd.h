// Vectors of the widest kind that the translation unit is compiled for. The same source is compiled
// several times (baseline, AVX2, AVX-512), and the best that the machine has is chosen at run time.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace fs {
namespace FS_ISA {

#if defined(__AVX512F__)
constexpr int W = 16; // lanes of a float vector
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int W = 8;
constexpr int kRegisters = 16;
#else
constexpr int W = 4; // SSE2 or NEON through the compiler's generic vectors
constexpr int kRegisters = 16;
#endif

typedef float vf __attribute__((vector_size(4 * W), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * W), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * W), may_alias));
typedef float vf_unaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));

inline vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
inline void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }
inline vf splat(float x) { return vf{} + x; }
inline vu splat_u(uint32_t x) { return vu{} + x; }
inline vf relu(vf v) { return v > 0 ? v : vf{}; }
inline vf to_float(vi v) { return __builtin_convertvector(v, vf); }
inline vi to_int(vf v) { return __builtin_convertvector(v, vi); } // towards zero
inline bool all_zero(vf v) {
#if defined(__AVX512F__)
  const __m512i bits = (__m512i)v;
  return _mm512_test_epi32_mask(bits, bits) == 0;
#else
  const vi bits = (vi)v;
  int32_t any = 0;
  for (int i = 0; i < W; ++i) any |= bits[i];
  return any == 0;
#endif
}
inline bool none(vi lanes) { return all_zero((vf)lanes); }
inline vf floor_of(vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return (vf)_mm256_floor_ps((__m256)v);
#else
  const vf large = splat(8388608.f), size = v < 0 ? -v : v, whole = to_float(to_int(size < large ? v : vf{}));
  return size < large ? (whole > v ? whole - splat(1.f) : whole) : v;
#endif
}
inline float sum(vf v) {
  float total = 0;
  for (int i = 0; i < W; ++i) total += v[i];
  return total;
}
// e^v within a few units in the last place; a clamp keeps it from over- and underflowing. Reduced by multiples of
// ln 2, in two parts so that nothing is lost, then the Taylor series of the rest, which is at most ln(2) / 2.
inline vf exponential(vf v) {
  const vf low = splat(-87.f), high = splat(88.f);
  v = v < low ? low : (v > high ? high : v); // NaN stays
  const vf scaled = v * splat(1.44269504f);
  const vi n = to_int(scaled + (scaled < 0 ? splat(-0.5f) : splat(0.5f)));
  const vf k = to_float(n), r = (v - k * splat(0.693359375f)) + k * splat(2.12194440e-4f);
  vf sum = splat(1.f / 5040);
  for (const float c : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) sum = sum * r + splat(c);
  return sum * (vf)((n + 127) << 23);
}
inline vf square_root(vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)v);
#else
  vf root;
  for (int i = 0; i < W; ++i) root[i] = std::sqrt(v[i]);
  return root;
#endif
}

} // namespace FS_ISA
} // namespace fs
