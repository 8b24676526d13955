// CUDA on a CPU, for tests: the kernels' own sources, compiled with this header in the place of the runtime, run
// thread by thread. Every thread of a block is a fibre; barriers and shuffles hand over to the next one. What a
// kernel gets wrong about indices, tiles, barriers and shuffles shows here; speed and memory order do not.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static // blocks run one after another, so one copy serves them all

enum { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorMisalignedAddress = 716 };
typedef void* cudaStream_t;

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

template <class T> T min(T a, T b) { return std::min(a, b); }
template <class T> T max(T a, T b) { return std::max(a, b); }
inline void atomicAdd(float* p, float value) { *p += value; }
inline int cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
  std::memset(p, value, bytes);
  return cudaSuccess;
}

namespace emulated {

constexpr int kLanes = 32;
constexpr size_t kStackBytes = 1 << 16;
enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fibre {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state = State::kDone;
  uint64_t slot = 0; // what a shuffle offers to other lanes
  int shuffle = 0;   // which one, to tell lanes apart that have diverged
};

inline bool backwards = false; // order in which the threads of a block take turns
inline std::vector<Fibre> fibres;
inline ucontext_t scheduler;
inline int current;
inline const std::function<void()>* body;

inline void wait(State barrier) {
  fibres[current].state = barrier;
  swapcontext(&fibres[current].context, &scheduler);
}

inline void enter() {
  (*body)();
  fibres[current].state = State::kDone;
}

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulated CUDA: %s in block %u, %u\n", what, blockIdx.x, blockIdx.y);
  std::abort();
}

// Whether all threads of [first, last) that still run have come to the barrier; then they go on.
inline bool release(int first, int last, State barrier) {
  int waiting = 0, done = 0;
  for (int i = first; i < last; ++i) {
    waiting += fibres[i].state == barrier;
    done += fibres[i].state == State::kDone;
  }
  if (!waiting || waiting + done < last - first) return false;
  if (barrier == State::kAtWarpBarrier && done) fail("a shuffle without all lanes");
  for (int i = first; i < last; ++i) {
    if (barrier == State::kAtWarpBarrier && fibres[i].shuffle != fibres[first].shuffle) fail("lanes at different shuffles");
    if (fibres[i].state == barrier) fibres[i].state = State::kReady;
  }
  return true;
}

inline void run_block(int threads) {
  for (int i = 0; i < threads; ++i) {
    Fibre& fibre = fibres[i];
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.get();
    fibre.context.uc_stack.ss_size = kStackBytes;
    fibre.context.uc_link = &scheduler;
    makecontext(&fibre.context, enter, 0);
    fibre.state = State::kReady;
  }
  for (bool progress = true; progress;) {
    progress = false;
    for (int k = 0; k < threads; ++k) {
      current = backwards ? threads - 1 - k : k;
      if (fibres[current].state != State::kReady) continue;
      threadIdx.x = static_cast<unsigned>(current);
      swapcontext(&scheduler, &fibres[current].context);
      progress = true;
    }
    for (int warp = 0; warp < threads; warp += kLanes)
      progress |= release(warp, std::min(warp + kLanes, threads), State::kAtWarpBarrier);
    progress |= release(0, threads, State::kAtBlockBarrier);
  }
  for (int i = 0; i < threads; ++i)
    if (fibres[i].state != State::kDone) fail("threads at different barriers");
}

// The value that lane `from` of this warp offers; every lane of the warp takes part in the same shuffle.
template <class T> T shuffle(T value, int from, int which) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  fibres[current].shuffle = which;
  std::memcpy(&fibres[current].slot, &value, sizeof(T));
  wait(State::kAtWarpBarrier);
  T result;
  std::memcpy(&result, &fibres[current / kLanes * kLanes + from].slot, sizeof(T));
  wait(State::kAtWarpBarrier); // nobody offers anew before all have read
  return result;
}

inline int lane() { return current % kLanes; }

} // namespace emulated

inline void __syncthreads() { emulated::wait(emulated::State::kAtBlockBarrier); }
template <class T> T __shfl_sync(unsigned, T value, int from) { return emulated::shuffle(value, from, from); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulated::shuffle(value, emulated::lane() ^ mask, 100 + mask);
}
template <class T> T __shfl_up_sync(unsigned, T value, int step) {
  return emulated::shuffle(value, std::max(emulated::lane() - step, 0), 200 + step);
}

namespace fs {
namespace cuda {

template <class... P, class... A>
int run(void (*kernel)(P...), dim3 grid, int threads, void*, A... arguments) {
  const std::function<void()> body = [&] { kernel(static_cast<P>(arguments)...); };
  emulated::body = &body;
  if (emulated::fibres.size() < static_cast<size_t>(threads)) emulated::fibres.resize(threads);
  gridDim = grid, blockDim = dim3(threads);
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y);
      emulated::run_block(threads);
    }
  return cudaSuccess;
}

inline int scratch_allocate(void** memory, size_t bytes, void*) {
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*memory) std::memset(*memory, 0xff, bytes); // NaN: what is read must have been written
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline void scratch_free(void* memory, void*) { std::free(memory); }

} // namespace cuda
} // namespace fs

extern "C" inline __attribute__((used)) void emulated_order(int backwards) { emulated::backwards = backwards != 0; }
