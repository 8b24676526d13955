// Three planes or three lines over the unit cube (tri-planes, TensoRF's factors) on CPU.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "rows.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kChunk = 512; // samples of one task
constexpr int kBands = 16;      // tasks of one factor's scatter: enough to even out what scenes leave empty

constexpr int kAhead = 12;      // samples: a band's gradients lie scattered, and are asked for early

// Plane p is spanned by two axes (columns, rows); line p runs along the third.
constexpr int kPlaneAxes[3][2] = {{0, 1}, {0, 2}, {1, 2}};
constexpr int kLineAxis[3] = {2, 1, 0};

// D = 2: a plane of height * width rows of C channels; D = 1: a line of `width` rows.
template <int D> struct Factor {
  int32_t size[D]; // width, height
  int axis[D];
  int64_t first; // row of the table
};

template <int D> struct Factors {
  Factor<D> factor[3];
  explicit Factors(const int32_t* sizes) {
    int64_t first = 0;
    for (int p = 0; p < 3; ++p) {
      Factor<D>& f = factor[p];
      f.first = first;
      int64_t rows = 1;
      for (int k = 0; k < D; ++k) {
        f.size[k] = sizes[D * p + D - 1 - k]; // given as height, width
        f.axis[k] = D == 2 ? kPlaneAxes[p][k] : kLineAxis[p];
        rows *= f.size[k];
      }
      first += rows;
    }
  }
  const Factor<D>& operator[](int p) const { return factor[p]; }
};

// The 2^D vertices around a position.
template <int D> struct Cell {
  static constexpr int kCorners = 1 << D;
  Along x, y; // y is unused in a line
  int64_t base, up; // row of the lowest vertex; rows from there to the vertex above it
  Cell(const float* u, const Factor<D>& f)
      : x(u[f.axis[0]], f.size[0]), y(D == 2 ? u[f.axis[D - 1]] : 0.f, D == 2 ? f.size[D - 1] : 1) {
    base = f.first + static_cast<int64_t>(y.cell) * f.size[0] + x.cell;
    up = y.next * static_cast<int64_t>(f.size[0]);
  }
  int64_t row(int c) const { return base + (c & 1 ? x.next : 0) + (c & 2 ? up : 0); }
  int32_t owner(int c) const { return D == 2 ? y.cell + (c & 2 ? y.next : 0) : x.cell + (c & 1 ? x.next : 0); }
  float weight(int c) const { return x.weight(c & 1) * (D == 2 ? y.weight(c & 2) : 1.f); }
  float slope_x(int c) const { return x.slope(c & 1) * (D == 2 ? y.weight(c & 2) : 1.f); }
  float slope_y(int c) const { return D == 2 ? x.weight(c & 1) * y.slope(c & 2) : 0.f; }
  float twist(int c) const { return D == 2 ? x.slope(c & 1) * y.slope(c & 2) : 0.f; }
  // Change of a corner's weight as the position moves by q.
  float along(int c, const float* q, const Factor<D>& f) const {
    return q[f.axis[0]] * slope_x(c) + (D == 2 ? q[f.axis[D - 1]] * slope_y(c) : 0.f);
  }
  void rows(const float* table, int C, const float** row_of) const {
    for (int c = 0; c < kCorners; ++c) row_of[c] = table + row(c) * C;
  }
};

template <int D>
void forward(const float* u, const float* table, const Factors<D>& factors, int C, int64_t N, float* y, int threads) {
  parallel_chunks(N, kChunk, threads, [&, u, table, C, y](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      for (int p = 0; p < 3; ++p) {
        const Cell<D> cell(u + 3 * i, factors[p]);
        const float* row[Cell<D>::kCorners];
        float weight[Cell<D>::kCorners];
        cell.rows(table, C, row);
        for (int c = 0; c < Cell<D>::kCorners; ++c) weight[c] = cell.weight(c);
        blend<Cell<D>::kCorners>(row, weight, C, y + (3 * i + p) * C);
      }
  });
}

// The samples of one factor, sorted by the row of their cell (in a line, by the cell) and within it in order.
struct ByRow {
  std::vector<int64_t> start; // of each row's samples; one more than there are rows
  std::vector<int32_t> samples;
  template <int D> void fill(const float* u, const Factor<D>& f, int64_t N) {
    const int32_t size = f.size[D - 1];
    std::vector<int32_t> row(N);
    start.assign(size + 1, 0);
    for (int64_t i = 0; i < N; ++i) {
      row[i] = Along(u[3 * i + f.axis[D - 1]], size).cell;
      ++start[row[i] + 1];
    }
    for (int32_t r = 0; r < size; ++r) start[r + 1] += start[r];
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    samples.resize(N);
    for (int64_t i = 0; i < N; ++i) samples[next[row[i]]++] = static_cast<int32_t>(i);
  }
};

// Every task owns a band of rows and meets the samples of each row in order, so that nothing races and every sum has
// one order whatever the number of threads; two rows at a time stay in the first cache. With ggu, weights are those of
// the second order.
template <int D>
void scatter(const float* u, const float* gy, const float* ggu, const Factors<D>& factors, int C, int64_t N,
             float* gtable, int threads) {
  ByRow order[3];
  parallel_tasks(3, threads, [&, u, N](int64_t p, int) { order[p].fill(u, factors[p], N); });
  parallel_tasks(3 * kBands, threads, [&, u, gy, ggu, C, gtable](int64_t task, int) {
    const int p = static_cast<int>(task / kBands), band = static_cast<int>(task % kBands);
    const Factor<D>& f = factors[p];
    const auto bound = [&](int k) { return static_cast<int32_t>(static_cast<int64_t>(f.size[D - 1]) * k / kBands); };
    const int32_t first = bound(band), last = bound(band + 1);
    if (first == last) return;
    const std::vector<int32_t>& samples = order[p].samples;
    const int64_t end = order[p].start[last];
    for (int64_t k = order[p].start[std::max(first - 1, 0)]; k < end; ++k) {
      if (k + kAhead < end) prefetch_row(gy + (3 * static_cast<int64_t>(samples[k + kAhead]) + p) * C, C);
      const int64_t i = samples[k];
      const Cell<D> cell(u + 3 * i, f);
      float* row[Cell<D>::kCorners];
      float weight[Cell<D>::kCorners];
      int mine = 0;
      for (int c = 0; c < Cell<D>::kCorners; ++c) {
        if (cell.owner(c) < first || cell.owner(c) >= last) continue;
        row[mine] = gtable + cell.row(c) * C;
        weight[mine++] = ggu ? cell.along(c, ggu + 3 * i, f) : cell.weight(c);
      }
      const float* g = gy + (3 * i + p) * C;
      if (mine == Cell<D>::kCorners)
        add_rows<Cell<D>::kCorners>(row, weight, g, C);
      else
        for (int k = 0; k < mine; ++k) add_rows<1>(row + k, weight + k, g, C);
    }
  });
}

template <int D>
void position_gradient(const float* u, const float* table, const float* gy, const Factors<D>& factors, int C,
                       int64_t N, float* gu, int threads) {
  constexpr int K = Cell<D>::kCorners;
  parallel_chunks(N, kChunk, threads, [&, u, table, gy, C, gu](int64_t begin, int64_t end, int) {
    std::fill(gu + 3 * begin, gu + 3 * end, 0.f);
    for (int64_t i = begin; i < end; ++i)
      for (int p = 0; p < 3; ++p) {
        const Factor<D>& f = factors[p];
        const Cell<D> cell(u + 3 * i, f);
        const float* row[K];
        float dot[K];
        cell.rows(table, C, row);
        dots<K>(row, gy + (3 * i + p) * C, C, dot);
        for (int c = 0; c < K; ++c) {
          gu[3 * i + f.axis[0]] += dot[c] * cell.slope_x(c);
          if (D == 2) gu[3 * i + f.axis[D - 1]] += dot[c] * cell.slope_y(c);
        }
      }
  });
}

// s = <ggu, d<gy, y>/du> is linear in gy and in the table; only the mixed derivative of a plane bends.
template <int D>
void second_order(const float* u, const float* table, const float* gy, const float* ggu, const Factors<D>& factors,
                  int C, int64_t N, float* ggy, float* gu, int threads) {
  constexpr int K = Cell<D>::kCorners;
  parallel_chunks(N, kChunk, threads, [&, u, table, gy, ggu, C, ggy, gu](int64_t begin, int64_t end, int) {
    std::fill(gu + 3 * begin, gu + 3 * end, 0.f);
    for (int64_t i = begin; i < end; ++i)
      for (int p = 0; p < 3; ++p) {
        const Factor<D>& f = factors[p];
        const Cell<D> cell(u + 3 * i, f);
        const float *row[K], *q = ggu + 3 * i;
        float weight[K], dot[K];
        cell.rows(table, C, row);
        for (int c = 0; c < K; ++c) weight[c] = cell.along(c, q, f);
        blend<K>(row, weight, C, ggy + (3 * i + p) * C);
        if (D == 1) continue;
        dots<K>(row, gy + (3 * i + p) * C, C, dot);
        for (int c = 0; c < K; ++c) {
          gu[3 * i + f.axis[0]] += dot[c] * cell.twist(c) * q[f.axis[D - 1]];
          gu[3 * i + f.axis[D - 1]] += dot[c] * cell.twist(c) * q[f.axis[0]];
        }
      }
  });
}

template <class Body> void with_factors(int32_t D, const int32_t* sizes, const Body& body) {
  if (D == 2)
    body(Factors<2>(sizes));
  else
    body(Factors<1>(sizes));
}

} // namespace

void plane_lookup_forward(const float* u, const float* table, const int32_t* sizes, int32_t D, int32_t C, int64_t N,
                          float* y, int32_t threads) {
  with_factors(D, sizes, [&](const auto& factors) { forward(u, table, factors, C, N, y, threads); });
}

void plane_lookup_backward(const float* u, const float* table, const float* gy, const int32_t* sizes, int32_t D,
                           int32_t C, int64_t N, float* gtable, float* gu, int32_t threads) {
  with_factors(D, sizes, [&](const auto& factors) {
    if (gtable) scatter(u, gy, nullptr, factors, C, N, gtable, threads);
    if (gu) position_gradient(u, table, gy, factors, C, N, gu, threads);
  });
}

void plane_lookup_backward_backward(const float* u, const float* table, const float* gy, const float* ggu,
                                    const int32_t* sizes, int32_t D, int32_t C, int64_t N, float* ggy, float* gtable,
                                    float* gu, int32_t threads) {
  with_factors(D, sizes, [&](const auto& factors) {
    second_order(u, table, gy, ggu, factors, C, N, ggy, gu, threads);
    if (gtable) scatter(u, gy, ggu, factors, C, N, gtable, threads);
  });
}

} // namespace FS_ISA
} // namespace fs
