// Front-to-back compositing of packed samples (NeRF, eq. 3) and its gradient: a warp for each ray, 32 samples at a
// time, transmittance from a prefix sum of optical thickness. Memory-bound: each array moves once.
#include "warp.cuh"

namespace fs {
namespace cuda {
namespace {

constexpr int kChannels = 4; // summed in one pass over the samples

__global__ void __launch_bounds__(kThreads)
visible_kernel(const float* __restrict__ density, const float* __restrict__ start, const float* __restrict__ end,
               const int64_t* __restrict__ offsets, int64_t R, float stop, float* __restrict__ light,
               int32_t* __restrict__ count) {
  const int64_t r = warp_index();
  if (r >= R) return;
  const int64_t last = offsets[r + 1];
  float before = light[r], seen_samples = 0;
  for (int64_t first = offsets[r]; first < last && before > stop; first += kWarp) {
    const int64_t s = first + lane_index();
    const float thickness = s < last ? density[s] * (end[s] - start[s]) : 0.f;
    const float in_front = sum_up_to(thickness) - thickness; // every lane takes part in the sum
    const bool seen = s < last && before * expf(-in_front) > stop;
    seen_samples += sum_of_all(seen ? 1.f : 0.f);
    before *= expf(-sum_of_all(seen ? thickness : 0.f));
  }
  if (lane_index() == 0) light[r] = before, count[r] = static_cast<int32_t>(seen_samples);
}

// Writes the weights; returns the light left behind, and the expected distance in `depth`.
__device__ __forceinline__ float weigh(const float* density, const float* start, const float* end, int64_t first,
                                       int64_t last, float* weights, float* depth) {
  float passed = 0, distance = 0; // optical thickness of the samples so far
  for (; first < last; first += kWarp) {
    const int64_t s = first + lane_index();
    const bool inside = s < last;
    const float low = inside ? start[s] : 0.f, high = inside ? end[s] : 0.f;
    const float thickness = inside ? density[s] * (high - low) : 0.f;
    const float sum = sum_up_to(thickness);
    const float weight = expf(thickness - sum - passed) * -expm1f(-thickness);
    if (inside) weights[s] = weight;
    distance += weight * 0.5f * (low + high);
    passed += last_lane(sum);
  }
  *depth = sum_of_all(distance);
  return expf(-passed);
}

__global__ void __launch_bounds__(kThreads)
composite_forward_kernel(const float* __restrict__ density, const float* __restrict__ rgb,
                         const float* __restrict__ start, const float* __restrict__ end,
                         const int64_t* __restrict__ offsets, const float* __restrict__ background, int64_t R, int C,
                         float* __restrict__ color, float* __restrict__ light, float* __restrict__ depth,
                         float* weights) {
  const int64_t r = warp_index();
  if (r >= R) return;
  const int64_t first = offsets[r], last = offsets[r + 1];
  float distance;
  const float behind = weigh(density, start, end, first, last, weights, &distance);
  for (int c = 0; c < C; c += kChannels) {
    float total[kChannels] = {};
    for (int64_t s = first + lane_index(); s < last; s += kWarp) { // a lane reads the weights that it wrote
      const float weight = weights[s];
      for (int k = 0; k < kChannels; ++k)
        if (c + k < C) total[k] += weight * rgb[s * C + c + k];
    }
    for (int k = 0; k < kChannels; ++k) {
      const float sum = sum_of_all(total[k]);
      if (lane_index() == 0 && c + k < C) color[r * C + c + k] = sum + behind * background[r * C + c + k];
    }
  }
  if (lane_index() == 0) light[r] = behind, depth[r] = distance;
}

// With w_s = T_s (1 - e_s), e_s = exp(-density_s dt_s), and V_s the value a sample adds to the loss per unit
// weight: dLoss/d(density_s dt_s) = T_{s+1} V_s - sum_{j > s} w_j V_j - T_end V_background. The suffix is
// summed from the far end, which stays exact where a difference of prefixes would cancel: lane 0 is the last sample.
__global__ void __launch_bounds__(kThreads)
composite_backward_kernel(const float* __restrict__ rgb, const float* __restrict__ start,
                          const float* __restrict__ end, const int64_t* __restrict__ offsets,
                          const float* __restrict__ background, const float* __restrict__ weights,
                          const float* __restrict__ light, const float* __restrict__ gcolor,
                          const float* __restrict__ glight, const float* __restrict__ gdepth, int64_t R, int C,
                          float* __restrict__ gdensity, float* __restrict__ grgb) {
  const int64_t r = warp_index();
  if (r >= R) return;
  const float* gc = gcolor + r * C;
  float backdrop = glight[r];
  for (int c = 0; c < C; ++c) backdrop += gc[c] * background[r * C + c];
  float behind = light[r], suffix = behind * backdrop; // after the samples still to come
  const int64_t first = offsets[r];
  for (int64_t top = offsets[r + 1]; top > first; top -= kWarp) {
    const int64_t s = top - 1 - lane_index();
    const bool inside = s >= first;
    const float low = inside ? start[s] : 0.f, high = inside ? end[s] : 0.f, weight = inside ? weights[s] : 0.f;
    float value = gdepth[r] * 0.5f * (low + high);
    for (int c = 0; c < C && inside; ++c) {
      value += gc[c] * rgb[s * C + c];
      grgb[s * C + c] = gc[c] * weight;
    }
    const float light_sum = sum_up_to(weight), value_sum = sum_up_to(weight * value);
    if (inside) gdensity[s] = (high - low) * ((behind + light_sum - weight) * value - (suffix + value_sum - weight * value));
    behind += last_lane(light_sum);
    suffix += last_lane(value_sum);
  }
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int visible(const float* density, const float* start, const float* end, const int64_t* offsets, int64_t R,
                       float stop, float* light, int32_t* count, void* stream) {
  return run(visible_kernel, dim3(blocks_for_warps(R)), kThreads, stream, density, start, end, offsets, R, stop, light,
             count);
}

extern "C" int composite_forward(const float* density, const float* rgb, const float* start, const float* end,
                                 const int64_t* offsets, const float* background, int64_t R, int32_t C, float* color,
                                 float* light, float* depth, float* weights, void* stream) {
  return run(composite_forward_kernel, dim3(blocks_for_warps(R)), kThreads, stream, density, rgb, start, end, offsets,
             background, R, C, color, light, depth, weights);
}

extern "C" int composite_backward(const float* rgb, const float* start, const float* end, const int64_t* offsets,
                                  const float* background, const float* weights, const float* light,
                                  const float* gcolor, const float* glight, const float* gdepth, int64_t R, int32_t C,
                                  float* gdensity, float* grgb, void* stream) {
  return run(composite_backward_kernel, dim3(blocks_for_warps(R)), kThreads, stream, rgb, start, end, offsets,
             background, weights, light, gcolor, glight, gdepth, R, C, gdensity, grgb);
}

} // namespace fs
