#include "scratch.cuh"

#include <mutex>
#include <unordered_map>

namespace fs {
namespace cuda {
namespace {

constexpr uint64_t kKeptBytes = 256u << 20;

// A pool of our own for each device. The default pool hands everything back at each synchronisation, which
// costs a fresh mapping in every training step, and changing that setting would change it for other libraries.
int pool_of(int device, cudaMemPool_t* pool) {
  static std::mutex mutex;
  static std::unordered_map<int, cudaMemPool_t> pools;
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = pools.find(device);
  if (found != pools.end()) {
    *pool = found->second;
    return cudaSuccess;
  }
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  if (const int error = cudaMemPoolCreate(pool, &properties)) return error;
  uint64_t kept = kKeptBytes;
  if (const int error = cudaMemPoolSetAttribute(*pool, cudaMemPoolAttrReleaseThreshold, &kept)) return error;
  pools[device] = *pool;
  return cudaSuccess;
}

} // namespace

int scratch_allocate(void** memory, size_t bytes, void* stream) {
  int device = 0;
  cudaMemPool_t pool;
  if (const int error = cudaGetDevice(&device)) return error;
  if (const int error = pool_of(device, &pool)) return error;
  return cudaMallocFromPoolAsync(memory, bytes, pool, static_cast<cudaStream_t>(stream));
}

void scratch_free(void* memory, void* stream) { cudaFreeAsync(memory, static_cast<cudaStream_t>(stream)); }

} // namespace cuda
} // namespace fs
