// Front-to-back compositing of packed samples (NeRF, eq. 3) and its gradient.
#include <cmath>

#include "../kernels.h"
#include "../pool.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kRaysPerTask = 128;
constexpr int kMaxChannels = 32;

} // namespace

void visible(const float* density, const float* start, const float* end, const int64_t* offsets, int64_t R,
             float stop, float* light, int32_t* count, int32_t threads) {
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      float transmittance = light[r];
      int64_t s = offsets[r];
      for (; s < offsets[r + 1] && transmittance > stop; ++s)
        transmittance *= std::exp(-density[s] * (end[s] - start[s]));
      count[r] = static_cast<int32_t>(s - offsets[r]);
      light[r] = transmittance;
    }
  });
}

void composite_forward(const float* density, const float* rgb, const float* start, const float* end,
                       const int64_t* offsets, const float* background, int64_t R, int32_t C, float* color,
                       float* light, float* depth, float* weights, int32_t threads) {
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      float transmittance = 1, distance = 0, total[kMaxChannels] = {};
      for (int64_t s = offsets[r]; s < offsets[r + 1]; ++s) {
        const float through = std::exp(-density[s] * (end[s] - start[s]));
        const float weight = transmittance * (1 - through);
        weights[s] = weight;
        distance += weight * 0.5f * (start[s] + end[s]);
        for (int c = 0; c < C; ++c) total[c] += weight * rgb[s * C + c];
        transmittance *= through;
      }
      for (int c = 0; c < C; ++c) color[r * C + c] = total[c] + transmittance * background[r * C + c];
      light[r] = transmittance;
      depth[r] = distance;
    }
  });
}

// With w_s = T_s (1 - e_s), e_s = exp(-density_s dt_s), and V_s the value a sample adds to the loss per unit
// weight: dLoss/d(density_s dt_s) = T_{s+1} V_s - sum_{j > s} w_j V_j - T_end V_background. The suffix is
// summed from the far end, which stays exact where a difference of prefixes would cancel.
void composite_backward(const float* rgb, const float* start, const float* end, const int64_t* offsets,
                        const float* background, const float* weights, const float* light, const float* gcolor,
                        const float* glight, const float* gdepth, int64_t R, int32_t C, float* gdensity,
                        float* grgb, int32_t threads) {
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      const float* gc = gcolor + r * C;
      float behind = light[r]; // transmittance after the sample at hand
      float backdrop = glight[r];
      for (int c = 0; c < C; ++c) backdrop += gc[c] * background[r * C + c];
      float suffix = behind * backdrop;
      for (int64_t s = offsets[r + 1] - 1; s >= offsets[r]; --s) {
        const float dt = end[s] - start[s], middle = 0.5f * (start[s] + end[s]);
        float value = gdepth[r] * middle;
        for (int c = 0; c < C; ++c) {
          value += gc[c] * rgb[s * C + c];
          grgb[s * C + c] = gc[c] * weights[s];
        }
        gdensity[s] = dt * (behind * value - suffix);
        suffix += weights[s] * value;
        behind += weights[s];
      }
    }
  });
}

} // namespace FS_ISA
} // namespace fs
