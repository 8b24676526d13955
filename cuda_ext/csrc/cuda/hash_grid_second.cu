// Second order of the hash grid. s = <ggu, d<gy, y>/du> is linear in gy and in the table: corner c counts with
// scale * sum_k ggu_k dw_c/dx_k.
#include "cell.cuh"
#include "features.cuh"
#include "scatter.cuh"

namespace fs {
namespace cuda {
namespace {

template <int F>
__global__ void __launch_bounds__(kThreads)
second_order(const float* __restrict__ u, const float* __restrict__ table, const float* __restrict__ gy,
             const float* __restrict__ ggu, const HashLevel* __restrict__ levels, int L, int64_t N,
             float* __restrict__ ggy, float* __restrict__ gu) {
  const int64_t i = thread_index();
  if (i >= N) return;
  const float q[3] = {ggu[3 * i], ggu[3 * i + 1], ggu[3 * i + 2]};
  float total[3] = {};
  for (int l = 0; l < L; ++l) {
    const HashLevel v = levels[l];
    const Cell cell(u + 3 * i, v.scale);
    const Strides strides(v);
    const int64_t column = (i * L + l) * F;
    float value[F] = {}, level[3] = {};
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const Features<F> entry = load_features<F>(table + (v.offset + cell.entry(strides, c)) * F);
      float slope[3], twist[3], dot = 0;
      cell.slope(c, slope);
      cell.twist(c, twist);
      const float factor = v.scale * (q[0] * slope[0] + q[1] * slope[1] + q[2] * slope[2]);
      for (int f = 0; f < F; ++f) {
        value[f] += factor * entry.v[f];
        dot += gy[column + f] * entry.v[f];
      }
      level[0] += dot * (q[1] * twist[0] + q[2] * twist[1]);
      level[1] += dot * (q[0] * twist[0] + q[2] * twist[2]);
      level[2] += dot * (q[0] * twist[1] + q[1] * twist[2]);
    }
    if (ggy)
      for (int f = 0; f < F; ++f) ggy[column + f] = value[f];
    for (int k = 0; k < 3; ++k) total[k] += v.scale * v.scale * level[k];
  }
  if (gu)
    for (int k = 0; k < 3; ++k) gu[3 * i + k] = total[k];
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int hash_grid_backward_backward(const float* u, const float* table, const float* gy, const float* ggu,
                                           const HashLevel* levels, int32_t L, int32_t F, int64_t N, float* ggy,
                                           float* gtable, float* gu, void* stream) {
  if (gtable)
    if (const int error = scatter(u, gy, ggu, levels, L, F, N, gtable, stream)) return error;
  if (!ggy && !gu) return cudaSuccess;
  return with_features(F, table, [&](auto width) {
    return run(second_order<width()>, dim3(blocks_for(N, kThreads)), kThreads, stream, u, table, gy, ggu, levels, L, N,
               ggy, gu);
  });
}

} // namespace fs
