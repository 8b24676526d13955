// Real spherical harmonics of view directions, one thread for each.
#include "common.cuh"

namespace fs {
namespace cuda {
namespace {

// Cartesian form (Sloan 2013, appendix A1), sign convention of Instant-NGP.
FS_BOTH void harmonics(float x, float y, float z, int degree, float* o) {
  o[0] = 0.28209479177387814f;
  if (degree <= 1) return;
  o[1] = -0.48860251190291987f * y;
  o[2] = 0.48860251190291987f * z;
  o[3] = -0.48860251190291987f * x;
  if (degree <= 2) return;
  const float xx = x * x, yy = y * y, zz = z * z;
  o[4] = 1.0925484305920792f * x * y;
  o[5] = -1.0925484305920792f * y * z;
  o[6] = 0.94617469575755997f * zz - 0.31539156525251999f;
  o[7] = -1.0925484305920792f * x * z;
  o[8] = 0.54627421529603959f * (xx - yy);
  if (degree <= 3) return;
  o[9] = 0.59004358992664352f * y * (-3.f * xx + yy);
  o[10] = 2.8906114426405538f * x * y * z;
  o[11] = 0.45704579946446572f * y * (1.f - 5.f * zz);
  o[12] = 0.3731763325901154f * z * (5.f * zz - 3.f);
  o[13] = 0.45704579946446572f * x * (1.f - 5.f * zz);
  o[14] = 1.4453057213202769f * z * (xx - yy);
  o[15] = 0.59004358992664352f * x * (-xx + 3.f * yy);
}

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
