// Sums within a warp, one ray each: its samples lie side by side, so lanes read neighbouring memory.
#pragma once
#include "common.cuh"

namespace fs {
namespace cuda {

__device__ __forceinline__ int lane_index() { return threadIdx.x % kWarp; }

// Ray of this warp.
__device__ __forceinline__ int64_t warp_index() { return thread_index() / kWarp; }

inline unsigned blocks_for_warps(int64_t count) { return blocks_for(count, kThreads / kWarp); }

// Sum over the lanes up to and including this one.
__device__ __forceinline__ float sum_up_to(float value) {
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const float other = __shfl_up_sync(kAllLanes, value, step);
    if (lane_index() >= step) value += other;
  }
  return value;
}

// Sum over all lanes, in every lane.
__device__ __forceinline__ float sum_of_all(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

__device__ __forceinline__ float last_lane(float value) { return __shfl_sync(kAllLanes, value, kWarp - 1); }

} // namespace cuda
} // namespace fs
