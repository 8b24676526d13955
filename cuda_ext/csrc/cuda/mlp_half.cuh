// Layers of a small network on the matrix units, 32 samples for each warp (16 beyond a width of 64).
//
// Activations never leave the registers of their warp: what multiply_add leaves in a lane is, rounded to halves, what
// the next layer's multiply_add expects there. Inside every 16 columns the order is ours to choose, as it only permutes
// a sum: lane 4 g + t holds columns 4 t to 4 t + 3 of rows g and g + 8, so that all traffic with memory is in vectors
// of four. Weights are packed once for each call into registers' order (one 16-byte read brings a lane its part of a
// 16 x 16 tile) and stay in L1.
#pragma once
#include "half.cuh"
#include "network.cuh"
#include "warp.cuh"

namespace fs {
namespace cuda {

constexpr int kTile = 16; // rows and columns that are padded with zeros to whole tiles
template <int W> constexpr int kRowTiles = W > 64 ? 1 : 2; // of a warp, as registers admit
template <int W> constexpr int kWarpRows = kRowTiles<W> * kTile;
template <int W> constexpr int kBlockRows = kThreads / kWarp * kWarpRows<W>;

FS_BOTH int tiles_of(int width) { return (width + kTile - 1) / kTile; }
FS_BOTH int padded(int width) { return tiles_of(width) * kTile; }

// Tiles of the layers before k, and columns of the padded inputs before that of layer k.
FS_BOTH int tiles_before(const Network& net, int k) {
  int total = 0;
  for (int j = 0; j < k; ++j) total += tiles_of(net.width[j]) * tiles_of(net.width[j + 1]);
  return total;
}
FS_BOTH int columns_before(const Network& net, int k) {
  int total = 0;
  for (int j = 0; j < k; ++j) total += padded(net.width[j]);
  return total;
}

// Packed weights: the tiles of all layers, and then those of all transposed layers.
inline size_t packed_floats(const Network& net) {
  return 2 * static_cast<size_t>(tiles_before(net, net.layers)) * kWarp * sizeof(uint4) / sizeof(float);
}
int pack_weights(const float* weights, const Network& net, uint4* packed, void* stream);

struct Lane {
  int row, column; // of its first values within a tile
  __device__ Lane() : row(lane_index() / 4), column(lane_index() % 4 * 4) {}
};

// Activations of a warp's samples in halves: [row tile][column tile] of multiply_add's first factor.
template <int W> struct Activations {
  uint32_t a[kRowTiles<W>][W / kTile][4];
};

// Columns [first, first + 4) of a row of `width`; zero beyond. `vector`: they are aligned, and all or none exist.
__device__ __forceinline__ float4 read_four(const float* row, int first, int width, bool vector) {
  if (vector && first < width) return *reinterpret_cast<const float4*>(row + first);
  float v[4];
  for (int k = 0; k < 4; ++k) v[k] = first + k < width ? row[first + k] : 0.f;
  return make_float4(v[0], v[1], v[2], v[3]);
}

__device__ __forceinline__ void write_four(float4 v, int first, int width, bool vector, float* row) {
  if (vector && first < width) {
    *reinterpret_cast<float4*>(row + first) = v;
    return;
  }
  const float values[4] = {v.x, v.y, v.z, v.w};
  for (int k = 0; k < 4; ++k)
    if (first + k < width) row[first + k] = values[k];
}

// Whether rows of this width, one after another from `rows`, can be read four by four.
FS_BOTH bool in_fours(const float* rows, int width) {
  return width % 4 == 0 && reinterpret_cast<uintptr_t>(rows) % sizeof(float4) == 0;
}

// scale * rows[count, width] of a warp; zero beyond.
template <int W>
__device__ __forceinline__ void load_rows(const float* rows, int count, int width, float scale, Activations<W>& to) {
  const Lane lane;
  const bool vector = in_fours(rows, width);
#pragma unroll
  for (int m = 0; m < kRowTiles<W>; ++m)
#pragma unroll
    for (int k = 0; k < W / kTile; ++k)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = m * kTile + lane.row + 8 * half;
        const float4 v = read_four(rows + row * width, k * kTile + lane.column, row < count ? width : 0, vector);
        to.a[m][k][half] = pack_halves(scale * v.x, scale * v.y);
        to.a[m][k][2 + half] = pack_halves(scale * v.z, scale * v.w);
      }
}

// take(row, column, four values): what multiply_add left in `sum` of a tile, for both of a lane's rows.
template <class Take> __device__ __forceinline__ void give_rows(const float* sum, int m, int j, const Take& take) {
  const Lane lane;
#pragma unroll
  for (int half = 0; half < 2; ++half)
    take(m * kTile + lane.row + 8 * half, j * kTile + lane.column,
         make_float4(sum[2 * half], sum[2 * half + 1], sum[4 + 2 * half], sum[5 + 2 * half]));
}

// take(m, j, sum[8]) for every row tile m and column tile j of activations[rows, K] packed[K, M].
template <int W, class Take>
__device__ __forceinline__ void multiply(const Activations<W>& in, const uint4* __restrict__ packed, int K, int M,
                                         const Take& take) {
  const int depth = tiles_of(K), columns = tiles_of(M);
#pragma unroll
  for (int j = 0; j < W / kTile; ++j) {
    if (j >= columns) continue; // not break: the loop must unroll, as j names registers
    float sum[kRowTiles<W>][8] = {};
#pragma unroll
    for (int k = 0; k < W / kTile; ++k) {
      if (k >= depth) continue;
      const uint4 b = packed[(j * depth + k) * kWarp + lane_index()];
#pragma unroll
      for (int m = 0; m < kRowTiles<W>; ++m) {
        multiply_add(sum[m], in.a[m][k], b.x, b.y);
        multiply_add(sum[m] + 4, in.a[m][k], b.z, b.w);
      }
    }
#pragma unroll
    for (int m = 0; m < kRowTiles<W>; ++m) take(m, j, sum[m]);
  }
}

// A tile's sums, rectified or as they are, as the next layer's first factor.
__device__ __forceinline__ void keep(const float* sum, bool rectify, uint32_t* to) {
  const auto value = [&](int i) { return rectify && !(sum[i] > 0) ? 0.f : sum[i]; };
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = pack_halves(value(2 * i), value(2 * i + 1));
}

} // namespace cuda
} // namespace fs
