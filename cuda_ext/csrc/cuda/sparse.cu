// Sparse voxel grid (Plenoxels, Fridovich-Keil et al. 2022) behind a two-level index.
#include "lookup.cuh"

namespace fs {
namespace cuda {
namespace {

constexpr int kBlock = 8; // vertices of a block along an axis

// Entries that point nowhere count as absent, so that no index, however it came about, leads out of the tables.
struct Voxels {
  static constexpr int kItems = 1, kCorners = 8;
  const int32_t *blocks, *slots;
  int64_t K, V;
  int32_t R, B;

  FS_BOTH int64_t row(int32_t x, int32_t y, int32_t z) const {
    const int64_t block = blocks[(static_cast<int64_t>(z / kBlock) * B + y / kBlock) * B + x / kBlock];
    if (block < 0 || block >= K) return -1;
    const int within = (z % kBlock * kBlock + y % kBlock) * kBlock + x % kBlock;
    const int64_t slot = slots[block * kBlock * kBlock * kBlock + within];
    return slot >= 0 && slot < V ? slot : -1;
  }

  struct Cell {
    const Voxels& voxels;
    Along x, y, z;
    FS_BOTH int64_t row(int c) const {
      return voxels.row(x.cell + (c & 1), y.cell + (c >> 1 & 1), z.cell + (c >> 2 & 1));
    }
    FS_BOTH float weight(int c) const { return x.weight(c & 1) * y.weight(c & 2) * z.weight(c & 4); }
    FS_BOTH void slope(int c, float* d) const {
      const float wx = x.weight(c & 1), wy = y.weight(c & 2), wz = z.weight(c & 4);
      d[0] = x.slope(c & 1) * wy * wz;
      d[1] = y.slope(c & 2) * wx * wz;
      d[2] = z.slope(c & 4) * wx * wy;
    }
    FS_BOTH void twist(int c, float* d) const {
      d[0] = x.slope(c & 1) * y.slope(c & 2) * z.weight(c & 4);
      d[1] = x.slope(c & 1) * z.slope(c & 4) * y.weight(c & 2);
      d[2] = y.slope(c & 2) * z.slope(c & 4) * x.weight(c & 1);
    }
  };

  FS_BOTH Cell cell(const float* u, int) const { return {*this, Along(u[0], R), Along(u[1], R), Along(u[2], R)}; }
};

Voxels make_voxels(const int32_t* blocks, const int32_t* slots, int32_t R, int64_t K, int64_t V) {
  return {blocks, slots, K, V, R, (R + kBlock - 1) / kBlock};
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int sparse_lookup_forward(const float* u, const float* values, const float* empty, const int32_t* blocks,
                                     const int32_t* slots, int32_t R, int64_t K, int64_t V, int32_t C, int64_t N,
                                     float* y, void* stream) {
  return blend_rows(make_voxels(blocks, slots, R, K, V), u, Rows{values, empty, C}, nullptr, N, y, stream);
}

extern "C" int sparse_lookup_backward(const float* u, const float* values, const float* empty, const int32_t* blocks,
                                      const int32_t* slots, const float* gy, int32_t R, int64_t K, int64_t V,
                                      int32_t C, int64_t N, float* gvalues, float* gu, void* stream) {
  return rows_backward(make_voxels(blocks, slots, R, K, V), u, Rows{values, empty, C}, gy, N, gvalues, gu, stream);
}

extern "C" int sparse_lookup_backward_backward(const float* u, const float* values, const float* empty,
                                               const int32_t* blocks, const int32_t* slots, const float* gy,
                                               const float* ggu, int32_t R, int64_t K, int64_t V, int32_t C, int64_t N,
                                               float* ggy, float* gvalues, float* gu, void* stream) {
  return rows_backward_backward(make_voxels(blocks, slots, R, K, V), u, Rows{values, empty, C}, gy, ggu, N, ggy,
                                gvalues, gu, stream);
}

} // namespace fs
