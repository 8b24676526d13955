// Interpolation among rows of C channels, for any space that tells which rows surround a position.
//
// A Space has kItems cells for each point (three planes, or one grid), and for each a Cell with kCorners rows:
//   Cell cell(const float* u, int item)      row(c) of the table, or -1 where `empty` stands in for it
//   weight(c), slope(c, d[3]), twist(c, d[3])    first derivatives; mixed second ones xy, xz, yz
// Rows are read and written V channels at a time by neighbouring threads. The traffic is kCorners rows read for one
// written, mostly from L2.
#pragma once
#include "features.cuh"
#include "warp.cuh"

namespace fs {
namespace cuda {

// Where u lies among `size` vertices from 0 to 1. Positions outside use the border, and NaN the lower one: no input
// can leave the grid. Outside, nothing depends on the position: its slope is zero.
struct Along {
  int32_t cell;
  int32_t next; // from a vertex to the next one: 0 where there is one vertex only
  float fraction, scale;
  FS_BOTH Along(float u, int32_t size) {
    const float inside = u > 0.f ? (u < 1.f ? u : 1.f) : 0.f, cells = static_cast<float>(size - 1);
    const float position = inside * cells;
    next = size > 1 ? 1 : 0;
    cell = static_cast<int32_t>(position);
    if (cell > size - 1 - next) cell = size - 1 - next;
    fraction = position - static_cast<float>(cell);
    scale = u >= 0.f && u <= 1.f ? cells : 0.f;
  }
  FS_BOTH float weight(int upper) const { return upper ? fraction : 1 - fraction; }
  FS_BOTH float slope(int upper) const { return upper ? scale : -scale; }
};

// Rows of the table, and what stands for the absent ones (nullable where there are none).
struct Rows {
  const float *table, *empty;
  int C;
  FS_BOTH const float* at(int64_t row) const { return row < 0 ? empty : table + row * C; }
};

// The corner's weight, or with directions ggu[N, 3] its derivative along the point's.
template <bool second_order, class Cell>
FS_BOTH float corner_weight(const Cell& cell, int c, [[maybe_unused]] const float* ggu, [[maybe_unused]] int64_t point) {
  if constexpr (second_order) {
    float d[3];
    cell.slope(c, d);
    return ggu[3 * point] * d[0] + ggu[3 * point + 1] * d[1] + ggu[3 * point + 2] * d[2];
  } else {
    return cell.weight(c);
  }
}

// y[N * kItems, C]; with ggu, by the derivatives of the weights along it.
template <int V, bool second_order, class Space>
__global__ void __launch_bounds__(kThreads)
blend(const Space space, const float* __restrict__ u, const Rows rows, const float* __restrict__ ggu, int64_t N,
      float* __restrict__ y) {
  const int packs = rows.C / V;
  const int64_t i = thread_index(), item = i / packs, point = item / Space::kItems;
  if (point >= N) return;
  const int channel = static_cast<int>(i % packs) * V;
  const auto cell = space.cell(u + 3 * point, static_cast<int>(item % Space::kItems));
  Features<V> total = {};
#pragma unroll
  for (int c = 0; c < Space::kCorners; ++c) {
    const Features<V> row = load_features<V>(rows.at(cell.row(c)) + channel);
    const float weight = corner_weight<second_order>(cell, c, ggu, point);
    for (int k = 0; k < V; ++k) total.v[k] += weight * row.v[k];
  }
  *reinterpret_cast<Features<V>*>(y + item * rows.C + channel) = total;
}

// gtable += gy[N * kItems, C] into all corners. Atomic, see add_features.
template <int V, bool second_order, class Space>
__global__ void __launch_bounds__(kThreads)
scatter_rows(const Space space, const float* __restrict__ u, const float* __restrict__ gy,
             const float* __restrict__ ggu, int C, int64_t N, float* __restrict__ gtable) {
  const int packs = C / V;
  const int64_t i = thread_index(), item = i / packs, point = item / Space::kItems;
  if (point >= N) return;
  const int channel = static_cast<int>(i % packs) * V;
  const Features<V> g = load_features<V>(gy + item * C + channel);
  bool any = false;
  for (int k = 0; k < V; ++k) any |= g.v[k] != 0;
  if (!any) return;
  const auto cell = space.cell(u + 3 * point, static_cast<int>(item % Space::kItems));
#pragma unroll
  for (int c = 0; c < Space::kCorners; ++c) {
    const int64_t row = cell.row(c);
    if (row < 0) continue;
    const float weight = corner_weight<second_order>(cell, c, ggu, point);
    float share[V];
    for (int k = 0; k < V; ++k) share[k] = weight * g.v[k];
    add_features<V>(gtable + row * C + channel, share);
  }
}

// gu[N, 3] = d<gy, y>/du, or with ggu the derivative of its product with ggu. A warp for each point, channel by lane.
template <bool second_order, class Space>
__global__ void __launch_bounds__(kThreads)
position_of_rows(const Space space, const float* __restrict__ u, const Rows rows, const float* __restrict__ gy,
                 const float* __restrict__ ggu, int64_t N, float* __restrict__ gu) {
  const int64_t point = warp_index();
  if (point >= N) return;
  float total[3] = {}, q[3] = {};
  for (int k = 0; second_order && k < 3; ++k) q[k] = ggu[3 * point + k];
  for (int item = 0; item < Space::kItems; ++item) {
    const auto cell = space.cell(u + 3 * point, item);
    const float* g = gy + (point * Space::kItems + item) * rows.C;
#pragma unroll
    for (int c = 0; c < Space::kCorners; ++c) {
      const float* row = rows.at(cell.row(c));
      float dot = 0, d[3];
      for (int k = lane_index(); k < rows.C; k += kWarp) dot += g[k] * row[k];
      if constexpr (second_order) {
        cell.twist(c, d);
        total[0] += dot * (q[1] * d[0] + q[2] * d[1]);
        total[1] += dot * (q[0] * d[0] + q[2] * d[2]);
        total[2] += dot * (q[0] * d[1] + q[1] * d[2]);
      } else {
        cell.slope(c, d);
        for (int k = 0; k < 3; ++k) total[k] += dot * d[k];
      }
    }
  }
  for (int k = 0; k < 3; ++k) {
    const float sum = sum_of_all(total[k]);
    if (lane_index() == 0) gu[3 * point + k] = sum;
  }
}

template <int V, class Space> dim3 grid_of_rows(int64_t N, int C) {
  return dim3(blocks_for(N * Space::kItems * (C / V), kThreads));
}

template <class Space>
int blend_rows(const Space& space, const float* u, const Rows& rows, const float* ggu, int64_t N, float* y,
               void* stream) {
  const int C = rows.C;
  const bool vectors = C % 4 == 0 && aligned(rows.table, 16) && aligned(rows.empty, 16) && aligned(y, 16);
  const auto start = [&](auto kernel, dim3 grid) { return run(kernel, grid, kThreads, stream, space, u, rows, ggu, N, y); };
  if (vectors) return start(ggu ? blend<4, true, Space> : blend<4, false, Space>, grid_of_rows<4, Space>(N, C));
  return start(ggu ? blend<1, true, Space> : blend<1, false, Space>, grid_of_rows<1, Space>(N, C));
}

template <class Space>
int scatter_to_rows(const Space& space, const float* u, const float* gy, const float* ggu, int C, int64_t N,
                    float* gtable, void* stream) {
  const bool vectors = C % 4 == 0 && aligned(gtable, 16) && aligned(gy, 16);
  const auto start = [&](auto kernel, dim3 grid) {
    return run(kernel, grid, kThreads, stream, space, u, gy, ggu, C, N, gtable);
  };
  if (vectors)
    return start(ggu ? scatter_rows<4, true, Space> : scatter_rows<4, false, Space>, grid_of_rows<4, Space>(N, C));
  return start(ggu ? scatter_rows<1, true, Space> : scatter_rows<1, false, Space>, grid_of_rows<1, Space>(N, C));
}

template <class Space>
int rows_to_position(const Space& space, const float* u, const Rows& rows, const float* gy, const float* ggu,
                     int64_t N, float* gu, void* stream) {
  return run(ggu ? position_of_rows<true, Space> : position_of_rows<false, Space>, dim3(blocks_for_warps(N)), kThreads,
             stream, space, u, rows, gy, ggu, N, gu);
}

// Gradients of the table and of the positions, whichever is wanted.
template <class Space>
int rows_backward(const Space& space, const float* u, const Rows& rows, const float* gy, int64_t N, float* gtable,
                  float* gu, void* stream) {
  if (gtable)
    if (const int error = scatter_to_rows(space, u, gy, nullptr, rows.C, N, gtable, stream)) return error;
  return gu ? rows_to_position(space, u, rows, gy, nullptr, N, gu, stream) : int{cudaSuccess};
}

// s = <ggu, d<gy, y>/du> is linear in gy and in the table.
template <class Space>
int rows_backward_backward(const Space& space, const float* u, const Rows& rows, const float* gy, const float* ggu,
                           int64_t N, float* ggy, float* gtable, float* gu, void* stream) {
  if (const int error = blend_rows(space, u, rows, ggu, N, ggy, stream)) return error;
  if (gtable)
    if (const int error = scatter_to_rows(space, u, gy, ggu, rows.C, N, gtable, stream)) return error;
  return rows_to_position(space, u, rows, gy, ggu, N, gu, stream);
}

} // namespace cuda
} // namespace fs
