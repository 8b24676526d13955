// What every kernel file needs. `run` is the only place that launches, so that the same sources also run
// thread by thread on a CPU: the tests compile them with a header in the place of the CUDA runtime.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

#include "launchers.h"

#define FS_BOTH __host__ __device__ __forceinline__

namespace fs {
namespace cuda {

constexpr int kThreads = 128; // of a block
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

inline unsigned blocks_for(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

inline bool aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

__device__ __forceinline__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

#if defined(__CUDACC__)
// An empty grid is no launch and no error.
template <class... P, class... A>
int run(void (*kernel)(P...), dim3 grid, int threads, void* stream, A... arguments) {
  if (grid.x == 0 || grid.y == 0) return cudaSuccess;
  kernel<<<grid, threads, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<P>(arguments)...);
  return cudaGetLastError();
}
#endif

} // namespace cuda
} // namespace fs
