// Three planes or three lines over the unit cube (tri-planes, TensoRF's factors) on CPU.
#include "../kernels.h"
#include "factors.h"

namespace fs {
namespace FS_ISA {
namespace {

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
