// CUDA on a CPU, for tests: the kernels' own sources, compiled with this header in the place of the runtime, run
// thread by thread. Every thread of a block is a fibre; barriers, shuffles and matrix instructions hand over to the next
// one. What a kernel gets wrong about indices, tiles, barriers and registers shows here; speed and memory order do not.
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
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

template <class T> T min(T a, T b) { return std::min(a, b); }
template <class T> T max(T a, T b) { return std::max(a, b); }
inline void atomicAdd(float* p, float value) { *p += value; }
inline void atomicMax(unsigned* p, unsigned value) { *p = std::max(*p, value); }
template <class To, class From> To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}
inline unsigned __float_as_uint(float v) { return same_bits<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return same_bits<float>(v); }
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
  uint64_t slot[3] = {}; // what a shuffle offers to other lanes
  int shuffle = 0;       // which one, to tell lanes apart that have diverged
};

inline bool backwards = false; // order in which the threads of a block take turns
inline unsigned last_blocks = 0; // run only so many of a grid's last ones along x; 0: all
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

inline int lane() { return current % kLanes; }

// Calls read(offer), where offer(lane) is what that lane of this warp offers; all of its lanes take part in the same.
template <class T, class Read> auto exchange(const T& mine, int which, const Read& read) {
  static_assert(sizeof(T) <= sizeof(Fibre::slot));
  fibres[current].shuffle = which;
  std::memcpy(fibres[current].slot, &mine, sizeof(T));
  wait(State::kAtWarpBarrier);
  const auto result = read([](int lane) {
    T offered;
    std::memcpy(&offered, fibres[current / kLanes * kLanes + lane].slot, sizeof(T));
    return offered;
  });
  wait(State::kAtWarpBarrier); // nobody offers anew before all have read
  return result;
}

template <class T> T shuffle(T value, int from, int which) {
  return exchange(value, which, [&](const auto& offer) { return offer(from); });
}

inline float half_value(uint32_t bits) { return static_cast<float>(same_bits<_Float16>(static_cast<uint16_t>(bits))); }
inline uint32_t half_bits(float value) { return same_bits<uint16_t>(static_cast<_Float16>(value)); }

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
  if (grid.x > 0x7fffffffu || grid.y > 0xffffu) return cudaErrorInvalidValue; // as a device would
  const std::function<void()> body = [&] { kernel(static_cast<P>(arguments)...); };
  const unsigned first = emulated::last_blocks && grid.x > emulated::last_blocks ? grid.x - emulated::last_blocks : 0;
  emulated::body = &body;
  if (emulated::fibres.size() < static_cast<size_t>(threads)) emulated::fibres.resize(threads);
  gridDim = grid, blockDim = dim3(threads);
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = first; x < grid.x; ++x) {
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

inline float value_of_half(uint16_t bits) { return emulated::half_value(bits); }
inline uint32_t round_to_halves(float low, float high) {
  return emulated::half_bits(low) | emulated::half_bits(high) << 16;
}

// mma.m16n8k16 of the PTX manual: element `i` of a lane's part of a[16, 16] and b[16, 8] is a half of register i / 2.
inline void multiply_add(float* sum, const uint32_t* a, uint32_t b0, uint32_t b1) {
  struct Part {
    uint32_t a[4], b[2];
  };
  const Part mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const auto half = [](uint32_t pair, int upper) { return emulated::half_value(upper ? pair >> 16 : pair & 0xffffu); };
  const int group = emulated::lane() / 4, pair = emulated::lane() % 4 * 2;
  emulated::exchange(mine, 300, [&](const auto& offer) {
    for (int k = 0; k < 16; ++k) {
      const int from = k % 8 / 2;
      for (int i = 0; i < 4; ++i) {
        const Part of_a = offer(group * 4 + from), of_b = offer((pair + i % 2) * 4 + from);
        sum[i] += half(of_a.a[k / 8 * 2 + i / 2], k % 2) * half(of_b.b[k / 8], k % 2);
      }
    }
    return 0;
  });
}

// ldmatrix.x4.trans of the PTX manual: lanes 8 q to 8 q + 7 give the rows of matrix q.
inline void load_transposed(const uint16_t* row, uint32_t* matrices) {
  if (reinterpret_cast<uintptr_t>(row) % 16) emulated::fail("a matrix row that is not aligned");
  const int column = emulated::lane() / 4, pair = emulated::lane() % 4 * 2;
  emulated::exchange(row, 301, [&](const auto& offer) {
    for (int q = 0; q < 4; ++q)
      matrices[q] = offer(8 * q + pair)[column] | static_cast<uint32_t>(offer(8 * q + pair + 1)[column]) << 16;
    return 0;
  });
}

} // namespace cuda
} // namespace fs

extern "C" inline __attribute__((used)) void emulated_order(int backwards) { emulated::backwards = backwards != 0; }
extern "C" inline __attribute__((used)) void emulated_last_blocks(unsigned count) { emulated::last_blocks = count; }
