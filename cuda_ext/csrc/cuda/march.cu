// Ray marching through an occupancy bit grid into samples. Bounded by divergence and by the latency of dependent
// look-ups in L1/L2 (256 KiB of bits at 128^3): more rays in flight hide it, so a thread owns one ray.
#include "walker.cuh"
#include "warp.cuh"

namespace fs {
namespace cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
march_kernel(const float* __restrict__ origins, const float* __restrict__ directions, int64_t R, const Box box,
             const Grid grid, const Steps steps, int limit, float* __restrict__ t, const float* __restrict__ t_end,
             float* __restrict__ start, float* __restrict__ end, int32_t* __restrict__ count) {
  const int64_t r = thread_index();
  if (r >= R) return;
  const Walker walker(origins + 3 * r, directions + 3 * r, box, grid, steps);
  float at = t[r];
  count[r] = walker.walk(at, t_end[r], limit, start + r * limit, end + r * limit);
  t[r] = at;
}

// A warp for each ray.
__global__ void __launch_bounds__(kThreads)
pack_kernel(const float* __restrict__ origins, const float* __restrict__ directions, int64_t R, int limit,
            const float* __restrict__ start, const float* __restrict__ end, const int64_t* __restrict__ offsets,
            int64_t* __restrict__ ray_out, float* __restrict__ start_out, float* __restrict__ end_out,
            float* __restrict__ x) {
  const int64_t r = warp_index();
  if (r >= R) return;
  for (int64_t s = offsets[r] + lane_index(); s < offsets[r + 1]; s += kWarp) {
    const int64_t i = r * limit + s - offsets[r];
    ray_out[s] = r, start_out[s] = start[i], end_out[s] = end[i];
    const float middle = 0.5f * (start[i] + end[i]);
    for (int k = 0; k < 3; ++k) x[3 * s + k] = origins[3 * r + k] + middle * directions[3 * r + k];
  }
}

// A thread for each block of 8^3 cells: 64 bytes, eight cells of a row each.
__global__ void __launch_bounds__(kThreads)
coarsen_kernel(const uint8_t* __restrict__ bits, int G, uint8_t* __restrict__ coarse) {
  const int blocks = G / kBlockCells;
  const int64_t i = thread_index();
  if (i >= static_cast<int64_t>(blocks) * blocks * blocks) return;
  const int64_t bx = i % blocks, by = i / blocks % blocks, bz = i / blocks / blocks;
  unsigned any = 0;
  for (int z = 0; z < kBlockCells; ++z)
    for (int y = 0; y < kBlockCells; ++y)
      any |= bits[((bz * kBlockCells + z) * G + by * kBlockCells + y) * (G / 8) + bx];
  coarse[i] = any != 0;
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int march(const float* origins, const float* directions, int64_t R, const Box* box, int32_t contraction,
                     const uint8_t* bits, const uint8_t* coarse, const float* shares, int32_t G, float step,
                     float cone, int32_t limit, float* t, const float* t_end, float* start, float* end,
                     int32_t* count, void* stream) {
  const Grid grid{bits, coarse, shares, G};
  const Steps steps{step, cone, contraction};
  return run(march_kernel, dim3(blocks_for(R, kThreads)), kThreads, stream, origins, directions, R, *box, grid, steps,
             limit, t, t_end, start, end, count);
}

extern "C" int march_pack(const float* origins, const float* directions, int64_t R, int32_t limit, const float* start,
                          const float* end, const int64_t* offsets, int64_t* ray_out, float* start_out, float* end_out,
                          float* x, void* stream) {
  return run(pack_kernel, dim3(blocks_for_warps(R)), kThreads, stream, origins, directions, R, limit, start, end,
             offsets, ray_out, start_out, end_out, x);
}

extern "C" int coarsen(const uint8_t* bits, int32_t G, uint8_t* coarse, void* stream) {
  const int64_t blocks = G / kBlockCells;
  return run(coarsen_kernel, dim3(blocks_for(blocks * blocks * blocks, kThreads)), kThreads, stream, bits, G, coarse);
}

} // namespace fs
