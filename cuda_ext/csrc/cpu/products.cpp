// Products of planes and lines over the unit cube (TensoRF's components) on CPU.
#include "../kernels.h"
#include "../scratch.h"
#include "factors.h"

namespace fs {
namespace FS_ISA {
namespace {

// What one plane or line holds at a position.
template <int D> struct Value {
  const float* row[Cell<D>::kCorners];
  float weight[Cell<D>::kCorners];
  Value(const float* u, const Factor<D>& f, const float* table, int C) {
    const Cell<D> cell(u, f);
    cell.rows(table, C, row);
    for (int c = 0; c < Cell<D>::kCorners; ++c) weight[c] = cell.weight(c);
  }
  template <class L> FS_INLINE typename L::type at(L lanes, int c) const {
    typename L::type total = lanes.load(row[0] + c) * weight[0];
    for (int k = 1; k < Cell<D>::kCorners; ++k) total += lanes.load(row[k] + c) * weight[k];
    return total;
  }
};

// A position's three planes, each times the line across it: three products.
struct PlanesTimesLines {
  const float *planes, *lines;
  Factors<2> plane;
  Factors<1> line;

  void products(const float* u, int C, float* y) const {
    for (int p = 0; p < 3; ++p, y += C) {
      const Value<2> a(u, plane[p], planes, C);
      const Value<1> b(u, line[p], lines, C);
      over_channels(C, [&](auto lanes, int c) FS_INLINE { lanes.store(y + c, a.at(lanes, c) * b.at(lanes, c)); });
    }
  }
  void gradients(const float* u, const float* gy, int C, float* ga, float* gb) const {
    for (int p = 0; p < 3; ++p, gy += C, ga += C, gb += C) {
      const Value<2> a(u, plane[p], planes, C);
      const Value<1> b(u, line[p], lines, C);
      over_channels(C, [&](auto lanes, int c) FS_INLINE {
        const auto g = lanes.load(gy + c);
        lanes.store(ga + c, g * b.at(lanes, c));
        lanes.store(gb + c, g * a.at(lanes, c));
      });
    }
  }
};

// A position's three lines: one product.
struct Lines {
  const float* lines;
  Factors<1> line;

  void products(const float* u, int C, float* y) const {
    const Value<1> a(u, line[0], lines, C), b(u, line[1], lines, C), c(u, line[2], lines, C);
    over_channels(C, [&](auto lanes, int k) FS_INLINE {
      lanes.store(y + k, a.at(lanes, k) * b.at(lanes, k) * c.at(lanes, k));
    });
  }
  void gradients(const float* u, const float* gy, int C, float* gline) const {
    const Value<1> a(u, line[0], lines, C), b(u, line[1], lines, C), c(u, line[2], lines, C);
    over_channels(C, [&](auto lanes, int k) FS_INLINE {
      const auto g = lanes.load(gy + k), x = a.at(lanes, k), y = b.at(lanes, k), z = c.at(lanes, k), gx = g * x;
      lanes.store(gline + k, g * y * z);
      lanes.store(gline + C + k, gx * z);
      lanes.store(gline + 2 * C + k, gx * y);
    });
  }
};

} // namespace

void product_lookup_forward(const float* u, const float* planes, const float* lines, const int32_t* plane_sizes,
                            const int32_t* line_sizes, int32_t C, int64_t N, float* y, int32_t threads) {
  const auto all = [&](const auto& factors, int64_t width) {
    parallel_chunks(N, kChunk, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) factors.products(u + 3 * i, C, y + i * width);
    });
  };
  if (planes)
    all(PlanesTimesLines{planes, lines, Factors<2>(plane_sizes), Factors<1>(line_sizes)}, 3 * C);
  else
    all(Lines{lines, Factors<1>(line_sizes)}, C);
}

void product_lookup_backward(const float* u, const float* planes, const float* lines, const float* gy,
                             const int32_t* plane_sizes, const int32_t* line_sizes, int32_t C, int64_t N,
                             float* gplanes, float* glines, int32_t threads) {
  static thread_local Scratch for_planes, for_lines; // gradients [N, 3, C] of what the factors hold
  const Factors<1> line(line_sizes);
  float* gb = for_lines.floats(3 * N * C);
  if (!planes) {
    const Lines factors{lines, line};
    parallel_chunks(N, kChunk, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) factors.gradients(u + 3 * i, gy + i * C, C, gb + 3 * i * C);
    });
  } else {
    const PlanesTimesLines factors{planes, lines, Factors<2>(plane_sizes), line};
    float* ga = for_planes.floats(3 * N * C);
    parallel_chunks(N, kChunk, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        factors.gradients(u + 3 * i, gy + 3 * i * C, C, ga + 3 * i * C, gb + 3 * i * C);
    });
    if (gplanes) scatter(u, ga, nullptr, factors.plane, C, N, gplanes, threads);
  }
  if (glines) scatter(u, gb, nullptr, line, C, N, glines, threads);
}

} // namespace FS_ISA
} // namespace fs
