// Spherical harmonics of view directions, and the Adam update.
#include <cmath>

#include "../kernels.h"
#include "../pool.h"
#include "../simd.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kChunk = 4096;

#define FS_BOTH // each instruction set has a copy of its own
#include "../harmonics.inc"
#undef FS_BOTH

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
