// One layer of a small network for a block of samples, held in shared memory.
//
// Activations stand feature by feature, [W][kSamples + 4], weights panel by panel, [kDepth][W + 4]; every thread
// owns 8 samples x 8 outputs in registers: 64 FFMA for four 16-byte reads of shared memory, so the FP32 pipes
// are the bound. About 43 KiB in all, under the 48 KiB that every architecture grants without opting in.
#pragma once
#include "network.cuh"

namespace fs {
namespace cuda {

template <int W> struct Tile {
  static constexpr int kSamples = 8192 / W;
  static constexpr int kRow = kSamples + 4;                  // = 4 modulo 32 banks: see for_each_transposed
  static constexpr int kDepth = W == 32 ? 32 : 2048 / W;     // rows of a weight panel
  static constexpr int kPanelRow = W + 4;
  static constexpr int kActivations = W * kRow, kPanel = kDepth * kPanelRow;
  static_assert(kSamples / 8 * (W / 8) == kThreads, "one 8 x 8 tile for each thread");

  float sum[8][8]; // outputs x samples
  int sample, output;

  __device__ Tile() : sample(threadIdx.x % (kSamples / 8) * 4), output(threadIdx.x / (kSamples / 8) * 4) {}
  // The 8 samples (outputs) of a thread are two runs of four, half a block apart: neighbours read neighbours.
  static __device__ __forceinline__ int at(int first, int k, int size) { return first + (k & 3) + (k >> 2) * (size / 2); }
};

// body(row, column) for all rows < `rows` and columns < `columns`; a warp covers four rows and eight columns at a
// time. Global [rows, columns] is then touched in 32-byte sectors, and shared [column][row], whose stride
// is 4 modulo 32, without a bank conflict.
template <class Body> __device__ __forceinline__ void for_each_transposed(int rows, int columns, const Body& body) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int r = warp * 4 + lane / 8; r < rows; r += kThreads / kWarp * 4)
    for (int c = lane % 8; c < columns; c += 8) body(r, c);
}

// rows[count, width] of global memory into activations [width][kRow]; missing samples are zero.
template <int W>
__device__ __forceinline__ void load_rows(const float* rows, int count, int width, float* activations) {
  for_each_transposed(Tile<W>::kSamples, width, [&](int r, int c) {
    activations[c * Tile<W>::kRow + r] = r < count ? rows[static_cast<int64_t>(r) * width + c] : 0.f;
  });
}

// The inverse of load_rows.
template <int W>
__device__ __forceinline__ void store_rows(const float* activations, int count, int width, float* rows) {
  for_each_transposed(count, width, [&](int r, int c) {
    rows[static_cast<int64_t>(r) * width + c] = activations[c * Tile<W>::kRow + r];
  });
}

// Rows [first, first + kDepth) of B[K, M] = matrix, or of its transpose where matrix is [M, K]; zero beyond.
template <int W, bool transposed>
__device__ __forceinline__ void load_panel(const float* matrix, int first, int K, int M, float* panel) {
  using T = Tile<W>;
  if constexpr (transposed) {
    for_each_transposed(W, T::kDepth, [&](int m, int k) {
      panel[k * T::kPanelRow + m] = m < M && first + k < K ? matrix[m * K + first + k] : 0.f;
    });
  } else {
    for (int i = threadIdx.x; i < T::kDepth * W; i += kThreads) {
      const int k = i / W, m = i % W;
      panel[k * T::kPanelRow + m] = m < M && first + k < K ? matrix[(first + k) * M + m] : 0.f;
    }
  }
}

__device__ __forceinline__ void read_eight(const float* first, int half, float* v) {
  *reinterpret_cast<float4*>(v) = *reinterpret_cast<const float4*>(first);
  *reinterpret_cast<float4*>(v + 4) = *reinterpret_cast<const float4*>(first + half);
}

// tile.sum = B^T activations for B[K, M]. Starts and ends with activations complete and in use: the caller
// synchronises before it overwrites them.
template <int W, bool transposed>
__device__ __forceinline__ void multiply(const float* activations, const float* matrix, int K, int M, float* panel, Tile<W>& tile) {
  using T = Tile<W>;
  for (int j = 0; j < 8; ++j)
    for (int s = 0; s < 8; ++s) tile.sum[j][s] = 0;
  for (int first = 0; first < K; first += T::kDepth) {
    __syncthreads();
    load_panel<W, transposed>(matrix, first, K, M, panel);
    __syncthreads();
    const int depth = min(T::kDepth, K - first);
#pragma unroll 2
    for (int k = 0; k < depth; ++k) {
      alignas(16) float a[8], b[8];
      read_eight(activations + (first + k) * T::kRow + tile.sample, T::kSamples / 2, a);
      read_eight(panel + k * T::kPanelRow + tile.output, W / 2, b);
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int s = 0; s < 8; ++s) tile.sum[j][s] += b[j] * a[s];
    }
  }
}

// Overwrites the activations by the tile, rectified or as it is. Synchronises before and after.
template <int W> __device__ __forceinline__ void put(const Tile<W>& tile, bool rectify, float* activations) {
  using T = Tile<W>;
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float* row = activations + T::at(tile.output, j, W) * T::kRow + tile.sample;
    float v[8];
    for (int s = 0; s < 8; ++s) v[s] = rectify ? fmaxf(tile.sum[j][s], 0.f) : tile.sum[j][s];
    *reinterpret_cast<float4*>(row) = make_float4(v[0], v[1], v[2], v[3]);
    *reinterpret_cast<float4*>(row + T::kSamples / 2) = make_float4(v[4], v[5], v[6], v[7]);
  }
  __syncthreads();
}

// Floats of the hidden activations in front of layer k's input (k >= 1), for each sample.
FS_BOTH int hidden_before(const Network& net, int k) {
  int total = 0;
  for (int j = 1; j < k; ++j) total += net.width[j];
  return total;
}

} // namespace cuda
} // namespace fs
