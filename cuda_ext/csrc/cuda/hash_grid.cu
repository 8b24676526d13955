// Multiresolution hash grid (Mueller et al. 2022, section 3): values and first derivatives.
//
// A thread serves one point and kGroup levels, so that it writes or reads one whole 32-byte sector of the
// features [N, L*F]. Blocks run group by group: the tables of a group (16 MiB at 2^19 entries of two
// features) stay in L2 while all points pass. Each point and level gathers 8 entries, 8 * 32 B of L2 traffic
// against F * 4 B of result: L2 bandwidth is the bound. Tables of halves take half of its room.
#include "cell.cuh"
#include "features.cuh"
#include "scatter.cuh"

namespace fs {
namespace cuda {
namespace {

template <int F> constexpr int kGroup = 8 / F; // levels of one thread

template <int F, class T>
__device__ __forceinline__ void interpolate(const float* u, const T* table, const HashLevel& v, float* y) {
  const Cell cell(u, v.scale);
  const Strides strides(v);
  for (int f = 0; f < F; ++f) y[f] = 0;
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const Features<F> entry = load_features<F>(table + (v.offset + cell.entry(strides, c)) * F);
    for (int f = 0; f < F; ++f) y[f] += cell.weight(c) * entry.v[f];
  }
}

template <int F, class T>
__global__ void __launch_bounds__(kThreads)
forward(const float* __restrict__ u, const T* __restrict__ table, const HashLevel* __restrict__ levels, int L,
        int64_t N, bool vectors, float* __restrict__ y) {
  const int64_t i = thread_index();
  if (i >= N) return;
  const int first = blockIdx.y * kGroup<F>, count = min(kGroup<F>, L - first);
  float value[8] = {};
#pragma unroll
  for (int g = 0; g < kGroup<F>; ++g)
    if (g < count) interpolate<F>(u + 3 * i, table, levels[first + g], value + g * F);
  float* target = y + (i * L + first) * F;
  if (vectors) {
    for (int k = 0; k < 8 && k < count * F; k += 4)
      *reinterpret_cast<float4*>(target + k) = make_float4(value[k], value[k + 1], value[k + 2], value[k + 3]);
  } else {
#pragma unroll
    for (int k = 0; k < 8; ++k)
      if (k < count * F) target[k] = value[k];
  }
}

template <int F>
__global__ void __launch_bounds__(kThreads)
position_gradient(const float* __restrict__ u, const float* __restrict__ table, const float* __restrict__ gy,
                  const HashLevel* __restrict__ levels, int L, int64_t N, float* __restrict__ gu) {
  const int64_t i = thread_index();
  if (i >= N) return;
  float total[3] = {};
  for (int l = 0; l < L; ++l) {
    const HashLevel v = levels[l];
    const Cell cell(u + 3 * i, v.scale);
    const Strides strides(v);
    float level[3] = {};
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const Features<F> entry = load_features<F>(table + (v.offset + cell.entry(strides, c)) * F);
      float dot = 0, slope[3];
      for (int f = 0; f < F; ++f) dot += gy[(i * L + l) * F + f] * entry.v[f];
      cell.slope(c, slope);
      for (int k = 0; k < 3; ++k) level[k] += dot * slope[k];
    }
    for (int k = 0; k < 3; ++k) total[k] += v.scale * level[k];
  }
  for (int k = 0; k < 3; ++k) gu[3 * i + k] = total[k];
}

template <class T>
int features_at(const float* u, const T* table, const HashLevel* levels, int L, int F, int64_t N, float* y,
                void* stream) {
  return with_features(F, table, [&](auto width) {
    constexpr int f = width();
    const bool vectors = L * f % 4 == 0 && aligned(y, 16);
    return run(forward<f, T>, dim3(blocks_for(N, kThreads), blocks_for(L, kGroup<f>)), kThreads, stream, u, table, levels,
               L, N, vectors, y);
  });
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int hash_grid_forward(const float* u, const float* table, const HashLevel* levels, int32_t L, int32_t F,
                                 int64_t N, float* y, void* stream) {
  return features_at(u, table, levels, L, F, N, y, stream);
}

extern "C" int hash_grid_half_forward(const float* u, const uint16_t* table, const HashLevel* levels, int32_t L,
                                      int32_t F, int64_t N, float* y, void* stream) {
  return features_at(u, table, levels, L, F, N, y, stream);
}

extern "C" int hash_grid_backward(const float* u, const float* table, const float* gy, const HashLevel* levels,
                                  int32_t L, int32_t F, int64_t N, float* gtable, float* gu, void* stream) {
  if (gtable)
    if (const int error = scatter(u, gy, nullptr, levels, L, F, N, gtable, stream)) return error;
  if (!gu) return cudaSuccess;
  return with_features(F, table, [&](auto width) {
    return run(position_gradient<width()>, dim3(blocks_for(N, kThreads)), kThreads, stream, u, table, gy, levels, L, N,
               gu);
  });
}

} // namespace fs
