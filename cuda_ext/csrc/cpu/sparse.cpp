// Sparse voxel grid (Plenoxels, Fridovich-Keil et al. 2022) behind a two-level index, on CPU.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "rows.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kChunk = 512;
constexpr int kCorners = 8;
constexpr int kBlock = 8; // vertices of a block along an axis

// Row of the values of vertex (x, y, z), or -1. Entries that point nowhere count as absent, so that no index,
// however it came about, leads out of the tables.
struct Index {
  const int32_t *blocks, *slots;
  int64_t K, V;
  int32_t R, B;
  int64_t row(int32_t x, int32_t y, int32_t z) const {
    const int64_t at = (static_cast<int64_t>(z / kBlock) * B + y / kBlock) * B + x / kBlock;
    const int64_t block = blocks[at];
    if (block < 0 || block >= K) return -1;
    const int within = (z % kBlock * kBlock + y % kBlock) * kBlock + x % kBlock;
    const int64_t slot = slots[block * kBlock * kBlock * kBlock + within];
    return slot < V ? slot : -1;
  }
};

struct Cell {
  Along x, y, z;
  Cell(const float* u, int32_t R) : x(u[0], R), y(u[1], R), z(u[2], R) {}
  int64_t row(const Index& index, int c) const {
    return index.row(x.cell + (c & 1), y.cell + (c >> 1 & 1), z.cell + (c >> 2 & 1));
  }
  float weight(int c) const { return x.weight(c & 1) * y.weight(c & 2) * z.weight(c & 4); }
  void slope(int c, float* d) const {
    const float wx = x.weight(c & 1), wy = y.weight(c & 2), wz = z.weight(c & 4);
    d[0] = x.slope(c & 1) * wy * wz;
    d[1] = y.slope(c & 2) * wx * wz;
    d[2] = z.slope(c & 4) * wx * wy;
  }
  // Mixed second derivatives xy, xz, yz.
  void twist(int c, float* d) const {
    d[0] = x.slope(c & 1) * y.slope(c & 2) * z.weight(c & 4);
    d[1] = x.slope(c & 1) * z.slope(c & 4) * y.weight(c & 2);
    d[2] = y.slope(c & 2) * z.slope(c & 4) * x.weight(c & 1);
  }
  float along(int c, const float* q) const {
    float d[3];
    slope(c, d);
    return q[0] * d[0] + q[1] * d[1] + q[2] * d[2];
  }
};

// The eight vertices around a position: their features, `empty` where there is no vertex.
inline void gather(const Cell& cell, const Index& index, const float* values, const float* empty, int C,
                   const float** row) {
  for (int c = 0; c < kCorners; ++c) {
    const int64_t at = cell.row(index, c);
    row[c] = at < 0 ? empty : values + at * C;
  }
}

void position_gradient(const float* u, const float* values, const float* empty, const Index& index, const float* gy,
                       int C, int64_t N, float* gu, int threads) {
  parallel_chunks(N, kChunk, threads, [&, u, values, empty, gy, C, gu](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Cell cell(u + 3 * i, index.R);
      const float* row[kCorners];
      float dot[kCorners], total[3] = {};
      gather(cell, index, values, empty, C, row);
      dots<kCorners>(row, gy + i * C, C, dot);
      for (int c = 0; c < kCorners; ++c) {
        float d[3];
        cell.slope(c, d);
        for (int k = 0; k < 3; ++k) total[k] += dot[c] * d[k];
      }
      for (int k = 0; k < 3; ++k) gu[3 * i + k] = total[k];
    }
  });
}

// Every task owns a range of rows and meets all samples in order: nothing races, and the order of every sum is that
// of the samples whatever the number of threads. With ggu, weights are those of the second order.
void scatter(const float* u, const float* gy, const float* ggu, const Index& index, int C, int64_t N, float* gvalues,
             int threads) {
  std::vector<int32_t> rows(static_cast<size_t>(N) * kCorners);
  parallel_chunks(N, kChunk, threads, [&, u](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Cell cell(u + 3 * i, index.R);
      for (int c = 0; c < kCorners; ++c) rows[i * kCorners + c] = static_cast<int32_t>(cell.row(index, c));
    }
  });
  parallel_tasks(threads, threads, [&, u, gy, ggu, C, N, gvalues, threads](int64_t task, int) {
    const int64_t first = index.V * task / threads, last = index.V * (task + 1) / threads;
    for (int64_t i = 0; i < N; ++i) {
      const Cell cell(u + 3 * i, index.R);
      for (int c = 0; c < kCorners; ++c) {
        const int64_t row = rows[i * kCorners + c];
        if (row < first || row >= last) continue;
        float* const target = gvalues + row * C;
        const float weight = ggu ? cell.along(c, ggu + 3 * i) : cell.weight(c);
        add_rows<1>(&target, &weight, gy + i * C, C);
      }
    }
  });
}

// s = <ggu, d<gy, y>/du> is linear in gy and in the values.
void second_order(const float* u, const float* values, const float* empty, const Index& index, const float* gy,
                  const float* ggu, int C, int64_t N, float* ggy, float* gu, int threads) {
  parallel_chunks(N, kChunk, threads, [&, u, values, empty, gy, ggu, C, ggy, gu](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Cell cell(u + 3 * i, index.R);
      const float *row[kCorners], *q = ggu + 3 * i;
      float weight[kCorners], dot[kCorners], total[3] = {};
      gather(cell, index, values, empty, C, row);
      for (int c = 0; c < kCorners; ++c) weight[c] = cell.along(c, q);
      blend<kCorners>(row, weight, C, ggy + i * C);
      dots<kCorners>(row, gy + i * C, C, dot);
      for (int c = 0; c < kCorners; ++c) {
        float twist[3];
        cell.twist(c, twist);
        total[0] += dot[c] * (q[1] * twist[0] + q[2] * twist[1]);
        total[1] += dot[c] * (q[0] * twist[0] + q[2] * twist[2]);
        total[2] += dot[c] * (q[0] * twist[1] + q[1] * twist[2]);
      }
      for (int k = 0; k < 3; ++k) gu[3 * i + k] = total[k];
    }
  });
}

Index make_index(const int32_t* blocks, const int32_t* slots, int32_t R, int64_t K, int64_t V) {
  return {blocks, slots, K, V, R, (R + kBlock - 1) / kBlock};
}

} // namespace

void sparse_lookup_forward(const float* u, const float* values, const float* empty, const int32_t* blocks,
                           const int32_t* slots, int32_t R, int64_t K, int64_t V, int32_t C, int64_t N, float* y,
                           int32_t threads) {
  const Index index = make_index(blocks, slots, R, K, V);
  parallel_chunks(N, kChunk, threads, [&, u, values, empty, C, y](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Cell cell(u + 3 * i, index.R);
      const float* row[kCorners];
      float weight[kCorners];
      gather(cell, index, values, empty, C, row);
      for (int c = 0; c < kCorners; ++c) weight[c] = cell.weight(c);
      blend<kCorners>(row, weight, C, y + i * C);
    }
  });
}

void sparse_lookup_backward(const float* u, const float* values, const float* empty, const int32_t* blocks,
                            const int32_t* slots, const float* gy, int32_t R, int64_t K, int64_t V, int32_t C,
                            int64_t N, float* gvalues, float* gu, int32_t threads) {
  const Index index = make_index(blocks, slots, R, K, V);
  if (gvalues) scatter(u, gy, nullptr, index, C, N, gvalues, threads);
  if (gu) position_gradient(u, values, empty, index, gy, C, N, gu, threads);
}

void sparse_lookup_backward_backward(const float* u, const float* values, const float* empty, const int32_t* blocks,
                                     const int32_t* slots, const float* gy, const float* ggu, int32_t R, int64_t K,
                                     int64_t V, int32_t C, int64_t N, float* ggy, float* gvalues, float* gu,
                                     int32_t threads) {
  const Index index = make_index(blocks, slots, R, K, V);
  second_order(u, values, empty, index, gy, ggu, C, N, ggy, gu, threads);
  if (gvalues) scatter(u, gy, ggu, index, C, N, gvalues, threads);
}

} // namespace FS_ISA
} // namespace fs
