// Three planes or three lines over the unit cube (tri-planes, TensoRF's factors).
#include "lookup.cuh"

namespace fs {
namespace cuda {
namespace {

// values[p] without an address, so that kernel parameters stay where they are.
template <class T> FS_BOTH T pick(const T (&values)[3], int p) { return p == 0 ? values[0] : p == 1 ? values[1] : values[2]; }

// Plane p is spanned by axes (columns, rows) (0, 1), (0, 2), (1, 2); line p runs along the axis it leaves out.
template <int D> struct Factors {
  static constexpr int kItems = 3, kCorners = 1 << D;
  int32_t width[3], height[3];
  int64_t first[3]; // row of the table

  // `sizes` is host memory: height and width of each plane, or the length of each line.
  explicit Factors(const int32_t* sizes) {
    int64_t rows = 0;
    for (int p = 0; p < 3; ++p) {
      first[p] = rows;
      width[p] = sizes[D * p + D - 1], height[p] = D == 2 ? sizes[D * p] : 1;
      rows += static_cast<int64_t>(width[p]) * height[p];
    }
  }

  struct Cell {
    Along x, y; // y has a single vertex in a line
    int axis_x, axis_y;
    int64_t base, up; // row of the lowest vertex; rows from there to the vertex above it
    FS_BOTH int64_t row(int c) const { return base + (c & 1 ? x.next : 0) + (c & 2 ? up : 0); }
    FS_BOTH float weight(int c) const { return x.weight(c & 1) * y.weight(c & 2); }
    FS_BOTH void slope(int c, float* d) const {
      const float along_x = x.slope(c & 1) * y.weight(c & 2), along_y = x.weight(c & 1) * y.slope(c & 2);
      for (int k = 0; k < 3; ++k) d[k] = k == axis_x ? along_x : D == 2 && k == axis_y ? along_y : 0.f;
    }
    FS_BOTH void twist(int c, float* d) const {
      const float mixed = x.slope(c & 1) * y.slope(c & 2);
      for (int k = 0; k < 3; ++k) d[k] = D == 2 && k == axis_x + axis_y - 1 ? mixed : 0.f;
    }
  };

  FS_BOTH Cell cell(const float* u, int p) const {
    const int axis_x = D == 2 ? p / 2 : 2 - p, axis_y = p == 0 ? 1 : 2;
    const int64_t columns = pick(width, p);
    const Along x(u[axis_x], pick(width, p)), y(D == 2 ? u[axis_y] : 0.f, pick(height, p));
    return {x, y, axis_x, axis_y, pick(first, p) + y.cell * columns + x.cell, y.next * columns};
  }
};

template <class Body> int with_factors(int32_t D, const int32_t* sizes, const Body& body) {
  return D == 2 ? body(Factors<2>(sizes)) : body(Factors<1>(sizes));
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int plane_lookup_forward(const float* u, const float* table, const int32_t* sizes, int32_t D, int32_t C,
                                    int64_t N, float* y, void* stream) {
  return with_factors(D, sizes, [&](const auto& factors) {
    return blend_rows(factors, u, Rows{table, nullptr, C}, nullptr, N, y, stream);
  });
}

extern "C" int plane_lookup_backward(const float* u, const float* table, const float* gy, const int32_t* sizes,
                                     int32_t D, int32_t C, int64_t N, float* gtable, float* gu, void* stream) {
  return with_factors(D, sizes, [&](const auto& factors) {
    return rows_backward(factors, u, Rows{table, nullptr, C}, gy, N, gtable, gu, stream);
  });
}

extern "C" int plane_lookup_backward_backward(const float* u, const float* table, const float* gy, const float* ggu,
                                              const int32_t* sizes, int32_t D, int32_t C, int64_t N, float* ggy,
                                              float* gtable, float* gu, void* stream) {
  return with_factors(D, sizes, [&](const auto& factors) {
    return rows_backward_backward(factors, u, Rows{table, nullptr, C}, gy, ggu, N, ggy, gtable, gu, stream);
  });
}

} // namespace fs
