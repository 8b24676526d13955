// F numbers of a table entry at once: one transaction of up to 16 bytes where the width allows.
#pragma once
#include <type_traits>

#include "half.cuh"

namespace fs {
namespace cuda {

template <int F> constexpr size_t kEntryAlignment = F >= 4 ? 16 : F * sizeof(float);

template <int F> struct alignas(kEntryAlignment<F>) Features {
  float v[F];
};

template <int F> __device__ __forceinline__ Features<F> load_features(const float* entry) {
  return *reinterpret_cast<const Features<F>*>(entry);
}

template <int F> struct alignas(F * sizeof(uint16_t)) Halves {
  uint16_t v[F];
};

template <int F> __device__ __forceinline__ Features<F> load_features(const uint16_t* entry) {
  const Halves<F> halves = *reinterpret_cast<const Halves<F>*>(entry);
  Features<F> found;
  for (int f = 0; f < F; ++f) found.v[f] = value_of_half(halves.v[f]);
  return found;
}

// Atomic: the order of the additions, and with it the last bit of a sum, differs from run to run.
template <int F> __device__ __forceinline__ void add_features(float* entry, const float* v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (F == 2) {
    atomicAdd(reinterpret_cast<float2*>(entry), make_float2(v[0], v[1]));
  } else if constexpr (F % 4 == 0) {
    for (int f = 0; f < F; f += 4)
      atomicAdd(reinterpret_cast<float4*>(entry + f), make_float4(v[f], v[f + 1], v[f + 2], v[f + 3]));
  } else
#endif
    for (int f = 0; f < F; ++f) atomicAdd(entry + f, v[f]);
}

// Calls body(integral_constant<int, F>) for a table whose entries are aligned to their vectors.
template <class T, class Body> int with_features(int32_t F, const T* table, const Body& body) {
  const size_t bytes = F * sizeof(T);
  if (table && !aligned(table, bytes < 16 ? bytes : 16)) return cudaErrorMisalignedAddress;
  switch (F) {
  case 1: return body(std::integral_constant<int, 1>{});
  case 2: return body(std::integral_constant<int, 2>{});
  case 4: return body(std::integral_constant<int, 4>{});
  case 8: return body(std::integral_constant<int, 8>{});
  default: return cudaErrorInvalidValue;
  }
}

} // namespace cuda
} // namespace fs
