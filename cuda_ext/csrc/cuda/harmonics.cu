// Real spherical harmonics of view directions, one thread for each.
#include "common.cuh"

namespace fs {
namespace cuda {
namespace {

#include "../harmonics.inc"

__global__ void __launch_bounds__(kThreads)
harmonics_kernel(const float* __restrict__ d, int degree, int64_t N, float* __restrict__ y) {
  const int64_t i = thread_index();
  if (i < N) harmonics(d[3 * i], d[3 * i + 1], d[3 * i + 2], degree, y + i * degree * degree);
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int spherical_harmonics(const float* d, int32_t degree, int64_t N, float* y, void* stream) {
  return run(harmonics_kernel, dim3(blocks_for(N, kThreads)), kThreads, stream, d, degree, N, y);
}

} // namespace fs
