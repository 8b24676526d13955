#include "network.cuh"

namespace fs {
namespace cuda {
namespace {

constexpr int kBlockWeights = 32; // of one block

__global__ void __launch_bounds__(kThreads)
add_up_kernel(const float* __restrict__ partial, int splits, int total, bool overwrite, const float* __restrict__ scale,
              float* __restrict__ gweights) {
  constexpr int kLanes = kThreads / kBlockWeights;
  __shared__ float sums[kLanes][kBlockWeights];
  const int column = threadIdx.x % kBlockWeights, lane = threadIdx.x / kBlockWeights;
  const int w = blockIdx.x * kBlockWeights + column;
  float sum = 0;
  if (w < total)
    for (int s = lane; s < splits; s += kLanes) sum += partial[static_cast<int64_t>(s) * total + w];
  sums[lane][column] = sum;
  __syncthreads();
  if (lane != 0 || w >= total) return;
  for (int k = 1; k < kLanes; ++k) sum += sums[k][column];
  if (scale) sum *= *scale;
  gweights[w] = overwrite ? sum : gweights[w] + sum;
}

} // namespace

int add_up(const float* partial, int splits, int total, bool overwrite, const float* scale, float* gweights,
           void* stream) {
  return run(add_up_kernel, dim3(blocks_for(total, kBlockWeights)), kThreads, stream, partial, splits, total, overwrite,
             scale, gweights);
}

} // namespace cuda
} // namespace fs
