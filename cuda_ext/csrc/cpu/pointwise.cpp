// Spherical harmonics of view directions, and the Adam update.
#include <cmath>

#include "../kernels.h"
#include "../pool.h"
#include "../simd.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kChunk = 4096;

// Real spherical harmonics in Cartesian form (Sloan 2013, appendix A1), sign convention of Instant-NGP.
void harmonics(float x, float y, float z, int degree, float* o) {
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

} // namespace

void spherical_harmonics(const float* d, int32_t degree, int64_t N, float* y, int32_t threads) {
  parallel_chunks(N, kChunk, threads, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) harmonics(d[3 * i], d[3 * i + 1], d[3 * i + 2], degree, y + i * degree * degree);
  });
}

void adam(float* parameter, float* gradient, float* first, float* second, int64_t N, float rate, float beta1,
          float beta2, float epsilon, float decay, int32_t skip, int32_t threads) {
  const vi always = vi{} - (skip ? 0 : 1);
  parallel_chunks(N, kChunk, threads, [&](int64_t begin, int64_t end, int) {
    int64_t i = begin;
    for (; i + W <= end; i += W) {
      const vf p = load(parameter + i);
      vf g = load(gradient + i);
      if (skip && all_zero(g)) continue;
      const vi moves = (vi)(g != 0) | always;
      const vf m0 = load(first + i), v0 = load(second + i);
      g += decay * p;
      const vf m = beta1 * m0 + (1 - beta1) * g;
      const vf v = beta2 * v0 + (1 - beta2) * g * g;
      store(first + i, moves ? m : m0);
      store(second + i, moves ? v : v0);
      store(gradient + i, vf{});
      store(parameter + i, moves ? p - rate * m / (square_root(v) + epsilon) : p);
    }
    for (; i < end; ++i) {
      if (skip && gradient[i] == 0) continue;
      const float g = gradient[i] + decay * parameter[i];
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      gradient[i] = 0;
      parameter[i] -= rate * first[i] / (std::sqrt(second[i]) + epsilon);
    }
  });
}

} // namespace FS_ISA
} // namespace fs
