// Half precision and the matrix units, one warp at a time. The tests bring their own version of what is in CUDA only.
#pragma once
#include "common.cuh"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace fs {
namespace cuda {

constexpr float kLargestHalf = 65504.f, kLargestFloat = 3.4028235e38f;

// Numbers beyond the range of halves become their largest; what is infinite or not a number stays so, and shows.
FS_BOTH float within_half(float v) {
  const float size = fabsf(v);
  return size > kLargestHalf && size <= kLargestFloat ? copysignf(kLargestHalf, v) : v;
}

#if defined(__CUDACC__)

__device__ __forceinline__ float value_of_half(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }

// Two halves in a register, the first one in the low bits.
__device__ __forceinline__ uint32_t round_to_halves(float low, float high) {
  const __half2 both = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&both);
}

// sum += a b for a[16, 16], b[16, 8]. With lane = 4 g + t, a register holds two neighbouring columns of a (rows of b):
// a[0] row g, a[1] row g + 8, columns 2 t and 2 t + 1; a[2], a[3] the same, 8 columns on; b0, b1 like a[0], a[2] with
// rows for columns, in column g; sum[0], sum[1] row g, columns 2 t and 2 t + 1, sum[2], sum[3] row g + 8.
__device__ __forceinline__ void multiply_add(float* sum, const uint32_t* a, uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

// Four 8 x 8 matrices of halves from shared memory, transposed: lane 8 q + i says where row i of matrix q lies, and
// lane 4 g + t gets of every matrix column g, rows 2 t and 2 t + 1.
__device__ __forceinline__ void load_transposed(const uint16_t* row, uint32_t* matrices) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}

#endif

__device__ __forceinline__ uint32_t pack_halves(float low, float high) {
  return round_to_halves(within_half(low), within_half(high));
}

} // namespace cuda
} // namespace fs
