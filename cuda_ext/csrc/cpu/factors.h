// Three planes or three lines over the unit cube: their cells, and sums into their vertices.
#pragma once
#include <algorithm>
#include <vector>

#include "../pool.h"
#include "rows.h"

namespace fs {
namespace FS_ISA {

constexpr int64_t kChunk = 512; // samples of one task
constexpr int kBands = 16;      // tasks of one factor's scatter: enough to even out what scenes leave empty
constexpr int kSegment = 512;   // samples of one row sorted at a time: the second cache holds their gradients
constexpr int kGroup = 32;      // sorted samples added at a time
constexpr int kAhead = 32;      // samples: a row's gradients lie scattered, and are asked for early

// Plane p is spanned by two axes (columns, rows); line p runs along the third.
constexpr int kPlaneAxes[3][2] = {{0, 1}, {0, 2}, {1, 2}};
constexpr int kLineAxis[3] = {2, 1, 0};

// D = 2: a plane of height * width rows of C channels; D = 1: a line of `width` rows.
template <int D> struct Factor {
  int32_t size[D]; // width, height
  int axis[D];
  int64_t first; // row of the table
  int32_t columns() const { return D == 2 ? size[0] : 1; }
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

// The samples of one factor, sorted by the row of their cell (in a line, by the cell) and within it in order.
struct ByRow {
  std::vector<int64_t> start, next; // of each row's samples; one more than there are rows
  std::vector<int32_t> row, samples;
  template <int D> void fill(const float* u, const Factor<D>& f, int64_t N) {
    const int32_t size = f.size[D - 1];
    row.resize(N);
    samples.resize(N);
    start.assign(size + 1, 0);
    for (int64_t i = 0; i < N; ++i) {
      row[i] = Along(u[3 * i + f.axis[D - 1]], size).cell;
      ++start[row[i] + 1];
    }
    for (int32_t r = 0; r < size; ++r) start[r + 1] += start[r];
    next.assign(start.begin(), start.end());
    for (int64_t i = 0; i < N; ++i) samples[next[row[i]]++] = static_cast<int32_t>(i);
  }
};

// Some samples of one row, sorted by their cell and within it in order.
template <int D> struct Segment {
  struct Sample {
    int32_t index, column;
    float weight[Cell<D>::kCorners];
  };
  Sample found[kSegment], sorted[kSegment];
  std::vector<int32_t> next; // of each column
  const Sample* by_cell(int count, int32_t columns) {
    if (columns == 1) return found;
    next.assign(columns + 1, 0);
    for (int s = 0; s < count; ++s) ++next[found[s].column + 1];
    for (int32_t c = 0; c < columns; ++c) next[c + 1] += next[c];
    for (int s = 0; s < count; ++s) sorted[next[found[s].column]++] = found[s];
    return sorted;
  }
};

// Where the corners of a row's cells are summed. Vertices that are not in the band of rows from `first` to before
// `last`, or that do not exist since the axis has one only (their weight is zero), share the `spare` row.
template <int D> struct Corners {
  float* origin[Cell<D>::kCorners]; // of the cell in column 0
  int64_t step[Cell<D>::kCorners];  // from column to column
  Corners(const Factor<D>& f, float* table, int C, int32_t cell_row, int32_t first, int32_t last, float* spare) {
    const int32_t columns = f.columns();
    for (int c = 0; c < Cell<D>::kCorners; ++c) {
      const int32_t row = cell_row + (c >> (D - 1)), column = D == 2 ? c & 1 : 0;
      const bool own = row >= first && row < last && column < columns;
      origin[c] = own ? table + (f.first + static_cast<int64_t>(row) * columns + column) * C : spare;
      step[c] = own ? C : 0;
    }
  }
};

// Gradients gy are added to gtable. With ggu, weights are those of the second order.
template <int D> struct Scatter {
  static constexpr int kCorners = Cell<D>::kCorners;
  const float *u, *gy, *ggu;
  const Factors<D>& factors;
  int C;
  float* gtable;
  const ByRow* order; // of each factor

  const float* gradient(int64_t i, int p) const { return gy + (3 * i + p) * C; }

  void band(int p, int32_t first, int32_t last) const {
    const std::vector<int64_t>& start = order[p].start;
    std::vector<float> spare(C);
    for (int32_t r = std::max(first - 1, 0); r < last; ++r) {
      const Corners<D> corners(factors[p], gtable, C, r, first, last, spare.data());
      for (int64_t begin = start[r]; begin < start[r + 1]; begin += kSegment)
        add(p, corners, begin, static_cast<int>(std::min<int64_t>(kSegment, start[r + 1] - begin)));
    }
  }

  void add(int p, const Corners<D>& corners, int64_t begin, int count) const {
    static thread_local Segment<D> segment;
    for (int s = 0; s < count; ++s) find(p, begin + s, segment.found[s]);
    const auto* samples = segment.by_cell(count, factors[p].columns());
    for (int k = 0; k < count; k += kGroup) {
      Runs<kCorners, kGroup> runs;
      for (int s = k; s < std::min(k + kGroup, count); ++s) {
        const int32_t column = samples[s].column;
        runs.add(s == k || column != samples[s - 1].column, samples[s].weight, gradient(samples[s].index, p));
        for (int c = 0; c < kCorners; ++c) runs.row(c) = corners.origin[c] + corners.step[c] * column;
      }
      add_runs(runs, C);
    }
  }

  void find(int p, int64_t k, typename Segment<D>::Sample& sample) const {
    const std::vector<int32_t>& samples = order[p].samples;
    const int64_t i = samples[k], later = samples[std::min<int64_t>(k + kAhead, samples.size() - 1)];
    __builtin_prefetch(u + 3 * later);
    prefetch_row(gradient(later, p), C);
    const Cell<D> cell(u + 3 * i, factors[p]);
    sample.index = static_cast<int32_t>(i);
    sample.column = D == 2 ? cell.x.cell : 0;
    for (int c = 0; c < kCorners; ++c)
      sample.weight[c] = ggu ? cell.along(c, ggu + 3 * i, factors[p]) : cell.weight(c);
  }
};

// Every task owns a band of rows and meets the samples of each cell in order, so that nothing races and every sum has
// one order whatever the number of threads; a cell's corners are read and written once for many samples.
template <int D>
void scatter(const float* u, const float* gy, const float* ggu, const Factors<D>& factors, int C, int64_t N,
             float* gtable, int threads) {
  static thread_local ByRow kept[3];
  ByRow* const order = kept; // this thread's, in all tasks
  parallel_tasks(3, threads, [=, &factors](int64_t p, int) { order[p].fill(u, factors[p], N); });
  const Scatter<D> work{u, gy, ggu, factors, C, gtable, order};
  parallel_tasks(3 * kBands, threads, [&](int64_t task, int) {
    const int64_t p = task / kBands, band = task % kBands, rows = factors[p].size[D - 1];
    work.band(p, static_cast<int32_t>(rows * band / kBands), static_cast<int32_t>(rows * (band + 1) / kBands));
  });
}

} // namespace FS_ISA
} // namespace fs
