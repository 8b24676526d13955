// Gradients of small fully connected networks.
//
// Samples go in chunks whose intermediate gradients stay in L2 (2^16 samples x 128 floats = 32 MiB):
//   1. data_gradient: gradients of all layers for a block of samples, like the forward pass on transposed weights;
//   2. weight_gradient: tiles of input^T gradient, each block over its own kSplit samples;
//   3. add_up: the blocks' partial sums, always in the same order.
// No atomics: the result is the same in every run. Twice the arithmetic of the forward pass; on top of reading x,
// gy and the hidden activations, the intermediate gradients are written and read once.
#include "mlp_tile.cuh"
#include "scratch.cuh"

namespace fs {
namespace cuda {
namespace {

constexpr int64_t kChunk = 1 << 16; // samples
constexpr int kSplit = 512;         // samples of one partial sum
constexpr int kSide = 64;           // of a tile of the weight gradient
constexpr int kStage = 32;          // samples in shared memory at a time

// Samples [begin, begin + count) of N.
struct Part {
  int64_t N, begin;
  int count;
};

// Gradients of the hidden layers, rectified by their activations, to inner (layer by layer, like `hidden`
// for `count` samples), and of the input to gx (nullable).
template <int W>
__global__ void __launch_bounds__(kThreads)
data_gradient(const float* __restrict__ weights, const float* __restrict__ hidden, const float* __restrict__ gy,
              const Network net, Part part, float* __restrict__ inner, float* __restrict__ gx) {
  using T = Tile<W>;
  alignas(16) __shared__ float activations[T::kActivations];
  alignas(16) __shared__ float panel[T::kPanel];
  const int row = blockIdx.x * T::kSamples, count = min(T::kSamples, part.count - row);
  const int64_t first = part.begin + row;
  T tile;
  load_rows<W>(gy + first * net.width[net.layers], count, net.width[net.layers], activations);
  for (int k = net.layers - 1; k >= (gx ? 0 : 1); --k) {
    const int width = net.width[k];
    multiply<W, true>(activations, weights + net.start[k], net.width[k + 1], width, panel, tile);
    put(tile, false, activations);
    if (k == 0) {
      store_rows<W>(activations, count, width, gx + first * width);
      return;
    }
    const int64_t column = hidden_before(net, k);
    const float* h = hidden + part.N * column + first * width;
    float* target = inner + part.count * column + static_cast<int64_t>(row) * width;
    for_each_transposed(count, width, [&](int r, int c) {
      float& g = activations[c * T::kRow + r];
      if (!(h[r * width + c] > 0)) g = 0;
      target[r * width + c] = g;
    });
  }
}

// One tile of the weights: columns [i, i + kSide) of the input against [o, o + kSide) of the gradient of layer k.
struct WeightTile {
  int k, i, o;
};

FS_BOTH WeightTile weight_tile(const Network& net, int index) {
  for (int k = 0; k < net.layers; ++k) {
    const int across = (net.width[k + 1] + kSide - 1) / kSide, tiles = across * ((net.width[k] + kSide - 1) / kSide);
    if (index < tiles) return {k, index / across * kSide, index % across * kSide};
    index -= tiles;
  }
  return {net.layers, 0, 0};
}

// kStage rows of a kSide wide window of rows[.., width] to shared memory, zero outside.
__device__ __forceinline__ void stage(const float* rows, int count, int width, int column, float* window) {
  for (int i = threadIdx.x; i < kStage * kSide; i += kThreads) {
    const int r = i / kSide, c = column + i % kSide;
    window[i] = r < count && c < width ? rows[static_cast<int64_t>(r) * width + c] : 0.f;
  }
}

// partial[blockIdx.x] of the tile blockIdx.y; a thread owns 8 x 4 weights.
__global__ void __launch_bounds__(kThreads)
weight_gradient(const float* __restrict__ x, const float* __restrict__ hidden, const float* __restrict__ gy,
                const float* __restrict__ inner, const Network net, Part part, int total, float* __restrict__ partial) {
  alignas(16) __shared__ float inputs[kStage * kSide];
  alignas(16) __shared__ float gradients[kStage * kSide];
  const WeightTile tile = weight_tile(net, blockIdx.y);
  const int K = net.width[tile.k], M = net.width[tile.k + 1], row = blockIdx.x * kSplit;
  const int64_t first = part.begin + row;
  const bool last = tile.k + 1 == net.layers;
  const float* input = tile.k ? hidden + part.N * hidden_before(net, tile.k) + first * K : x + first * K;
  const float* gradient = last ? gy + first * M : inner + static_cast<int64_t>(part.count) * hidden_before(net, tile.k + 1) + static_cast<int64_t>(row) * M;
  const int count = min(kSplit, part.count - row), o = threadIdx.x % 16 * 4, i = threadIdx.x / 16 * 4;
  float sum[8][4] = {};
  for (int s = 0; s < count; s += kStage) {
    stage(input + static_cast<int64_t>(s) * K, count - s, K, tile.i, inputs);
    stage(gradient + static_cast<int64_t>(s) * M, count - s, M, tile.o, gradients);
    __syncthreads();
#pragma unroll 4
    for (int r = 0; r < kStage; ++r) {
      alignas(16) float a[8];
      read_eight(inputs + r * kSide + i, kSide / 2, a);
      const float4 g = *reinterpret_cast<const float4*>(gradients + r * kSide + o);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        sum[j][0] += a[j] * g.x, sum[j][1] += a[j] * g.y;
        sum[j][2] += a[j] * g.z, sum[j][3] += a[j] * g.w;
      }
    }
    __syncthreads();
  }
  float* target = partial + static_cast<int64_t>(blockIdx.x) * total + net.start[tile.k];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int r = tile.i + i + (j & 3) + (j >> 2) * (kSide / 2);
#pragma unroll
    for (int c = 0; c < 4; ++c)
      if (r < K && tile.o + o + c < M) target[r * M + tile.o + o + c] = sum[j][c];
  }
}

int count_tiles(const Network& net) {
  int tiles = 0;
  while (weight_tile(net, tiles).k < net.layers) ++tiles;
  return tiles;
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int mlp_backward(const float* x, const float* weights, const float* hidden, const float* gy,
                            const int32_t* widths, int32_t layers, int64_t N, float* gweights, float* gx,
                            void* stream) {
  Network net;
  if (!read_network(widths, layers, &net)) return cudaErrorInvalidValue;
  const int total = weight_count(net), tiles = count_tiles(net);
  if (N == 0) return cudaMemsetAsync(gweights, 0, total * sizeof(float), static_cast<cudaStream_t>(stream));
  const int64_t largest = N < kChunk ? N : kChunk;
  const Scratch inner(largest * hidden_before(net, net.layers), stream);
  const Scratch partial(static_cast<size_t>(blocks_for(largest, kSplit)) * total, stream);
  if (inner.error() || partial.error()) return cudaErrorMemoryAllocation;
  for (int64_t begin = 0; begin < N; begin += kChunk) {
    const Part part{N, begin, static_cast<int>(N - begin < kChunk ? N - begin : kChunk)};
    const unsigned splits = blocks_for(part.count, kSplit);
    if (const int error = with_width(net, [&](auto width) {
          return run(data_gradient<width()>, dim3(blocks_for(part.count, Tile<width()>::kSamples)), kThreads, stream,
                     weights, hidden, gy, net, part, inner.data(), gx);
        }))
      return error;
    if (const int error = run(weight_gradient, dim3(splits, tiles), kThreads, stream, x, hidden, gy, inner.data(), net,
                              part, total, partial.data()))
      return error;
    if (const int error = add_up(partial.data(), splits, total, begin == 0, nullptr, gweights, stream)) return error;
  }
  return cudaSuccess;
}

} // namespace fs
