// Additions into the hash table's gradient.
//
// A thread walks kRun consecutive points through kGroup levels. Points that follow each other along a ray
// share cells at coarse levels: those are summed in registers first, which takes up to kRun times fewer
// atomics where they collide most. Points without a gradient cost no atomics at all.
#include "cell.cuh"
#include "features.cuh"
#include "scatter.cuh"

namespace fs {
namespace cuda {
namespace {

constexpr int kRun = 4;
template <int F> constexpr int kGroup = 8 / F;

template <int F, bool second_order>
__device__ __forceinline__ void scatter_level(const float* u, const float* gy, int width, const float* ggu, int count,
                                              const HashLevel& v, float* gtable) {
  const Strides strides(v);
  float sum[8][F];
  Cell current(u, v.scale);
  bool pending = false;
  const auto flush = [&] {
#pragma unroll
    for (int c = 0; c < 8; ++c) add_features<F>(gtable + static_cast<int64_t>(current.entry(strides, c)) * F, sum[c]);
  };
  for (int p = 0; p < count; ++p) {
    float g[F];
    bool any = false;
    for (int f = 0; f < F; ++f) any |= (g[f] = gy[static_cast<int64_t>(p) * width + f]) != 0;
    if (!any) continue;
    const Cell cell(u + 3 * p, v.scale);
    const bool fresh = !pending || !cell.same_as(current);
    if (pending && fresh) flush();
    current = cell, pending = true;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      float factor;
      if constexpr (second_order) {
        float slope[3];
        cell.slope(c, slope);
        factor = v.scale * (ggu[3 * p] * slope[0] + ggu[3 * p + 1] * slope[1] + ggu[3 * p + 2] * slope[2]);
      } else {
        factor = cell.weight(c);
      }
      for (int f = 0; f < F; ++f) sum[c][f] = (fresh ? 0.f : sum[c][f]) + factor * g[f];
    }
  }
  if (pending) flush();
}

template <int F, bool second_order>
__global__ void __launch_bounds__(kThreads)
scatter_kernel(const float* __restrict__ u, const float* __restrict__ gy, const float* __restrict__ ggu,
               const HashLevel* __restrict__ levels, int L, int64_t N, float* __restrict__ gtable) {
  const int64_t i = thread_index() * kRun;
  if (i >= N) return;
  const int count = static_cast<int>(min(static_cast<int64_t>(kRun), N - i)), first = blockIdx.y * kGroup<F>;
  for (int l = first; l < min(first + kGroup<F>, L); ++l) {
    const HashLevel v = levels[l];
    scatter_level<F, second_order>(u + 3 * i, gy + (i * L + l) * F, L * F, second_order ? ggu + 3 * i : nullptr, count, v,
                                   gtable + v.offset * F);
  }
}

} // namespace

int scatter(const float* u, const float* gy, const float* ggu, const HashLevel* levels, int L, int F, int64_t N,
            float* gtable, void* stream) {
  return with_features(F, gtable, [&](auto width) {
    constexpr int f = width();
    const dim3 grid(blocks_for(N, kThreads * kRun), blocks_for(L, kGroup<f>));
    return run(ggu ? scatter_kernel<f, true> : scatter_kernel<f, false>, grid, kThreads, stream, u, gy, ggu, levels, L,
               N, gtable);
  });
}

} // namespace cuda
} // namespace fs
