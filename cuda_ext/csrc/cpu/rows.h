// Rows of C channels, any C: weighted sums, scattered sums and dot products, and where a position lies on an axis.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "../simd.h"

namespace fs {
namespace FS_ISA {

// L neighbouring channels; memory need not be aligned.
template <int L> struct Lanes;
template <> struct Lanes<1> {
  typedef float type;
  static float load(const float* p) { return *p; }
  static void store(float* p, float v) { *p = v; }
  static float sum(float v) { return v; }
};
template <> struct Lanes<2> {
  typedef float type __attribute__((vector_size(8)));
  static float sum(type v) { return v[0] + v[1]; }
};
#define FS_LANES(L)                                                                                                    \
  template <> struct Lanes<L> {                                                                                        \
    typedef float type __attribute__((vector_size(4 * L)));                                                            \
    static type load(const float* p) {                                                                                 \
      type v;                                                                                                          \
      std::memcpy(&v, p, sizeof(v));                                                                                   \
      return v;                                                                                                        \
    }                                                                                                                  \
    static void store(float* p, type v) { std::memcpy(p, &v, sizeof(v)); }                                             \
    static float sum(type v) {                                                                                         \
      Lanes<L / 2>::type half[2];                                                                                      \
      std::memcpy(half, &v, sizeof(v));                                                                                \
      return Lanes<L / 2>::sum(half[0] + half[1]);                                                                     \
    }                                                                                                                  \
  };
FS_LANES(4)
FS_LANES(8)
FS_LANES(16)
#undef FS_LANES

#define FS_INLINE __attribute__((always_inline))

// body(Lanes<L>, c) over all channels: whole vectors first, then halves, quarters and single channels.
template <class Body> FS_INLINE inline void over_channels(int C, const Body& body) {
  int c = 0;
  for (; c + W <= C; c += W) body(Lanes<W>{}, c);
  if constexpr (W > 8)
    if (c + 8 <= C) body(Lanes<8>{}, c), c += 8;
  if constexpr (W > 4)
    if (c + 4 <= C) body(Lanes<4>{}, c), c += 4;
  for (; c < C; ++c) body(Lanes<1>{}, c);
}

// y = sum_k weight[k] * row[k]
template <int K> inline void blend(const float* const* row, const float* weight, int C, float* y) {
  over_channels(C, [&](auto lanes, int c) FS_INLINE {
    auto total = lanes.load(row[0] + c) * weight[0];
    for (int k = 1; k < K; ++k) total += lanes.load(row[k] + c) * weight[k];
    lanes.store(y + c, total);
  });
}

// row[k] += weight[k] * g; rows may coincide
template <int K> inline void add_rows(float* const* row, const float* weight, const float* g, int C) {
  over_channels(C, [&](auto lanes, int c) FS_INLINE {
    const auto v = lanes.load(g + c);
    for (int k = 0; k < K; ++k) lanes.store(row[k] + c, lanes.load(row[k] + c) + v * weight[k]);
  });
}

// Up to S samples g in runs that share their K rows: row[k] += weight[k] * g. Rows of a run must differ, except where
// nobody wants the sum.
template <int K, int S> struct Runs {
  int runs = 0, samples = 0;
  float* rows[S][K]; // of each run
  int end[S];
  const float* weight[S]; // of each sample
  const float* g[S];
  void add(bool fresh, const float* its_weight, const float* its_g) {
    runs += fresh;
    weight[samples] = its_weight;
    g[samples] = its_g;
    end[runs - 1] = ++samples;
  }
  float*& row(int k) { return rows[runs - 1][k]; } // of the run last added to
};

// B vectors of channels from c on: their sums stay in registers throughout a run.
template <int B, class L, int K, int S> FS_INLINE inline void add_runs_at(const Runs<K, S>& runs, L lanes, int c) {
  constexpr int kWidth = sizeof(typename L::type) / sizeof(float);
  for (int s = 0, r = 0; r < runs.runs; ++r) {
    typename L::type total[K][B];
    for (int k = 0; k < K; ++k)
      for (int b = 0; b < B; ++b) total[k][b] = lanes.load(runs.rows[r][k] + c + b * kWidth);
    for (const int end = runs.end[r]; s < end; ++s)
      for (int b = 0; b < B; ++b) {
        const auto v = lanes.load(runs.g[s] + c + b * kWidth);
        for (int k = 0; k < K; ++k) total[k][b] += v * runs.weight[s][k];
      }
    for (int k = 0; k < K; ++k)
      for (int b = 0; b < B; ++b) lanes.store(runs.rows[r][k] + c + b * kWidth, total[k][b]);
  }
}

// Two vectors at a time: twice the work for every branch that a run costs.
template <int K, int S> inline void add_runs(const Runs<K, S>& runs, int C) {
  int pairs = 0;
  for (; pairs + 2 * W <= C; pairs += 2 * W) add_runs_at<2>(runs, Lanes<W>{}, pairs);
  over_channels(C - pairs, [&](auto lanes, int c) FS_INLINE { add_runs_at<1>(runs, lanes, pairs + c); });
}

inline void prefetch_row(const float* row, int C) {
  for (int c = 0; c < C; c += 16) __builtin_prefetch(row + c);
  __builtin_prefetch(row + C - 1);
}

// dot[k] = <g, row[k]>
template <int K> inline void dots(const float* const* row, const float* g, int C, float* dot) {
  for (int k = 0; k < K; ++k) dot[k] = 0;
  const int whole = C / W * W;
  vf total[K] = {};
  for (int c = 0; c < whole; c += W) {
    const vf v = load(g + c);
    for (int k = 0; k < K; ++k) total[k] += v * load(row[k] + c);
  }
  over_channels(C - whole, [&](auto lanes, int c) FS_INLINE {
    const auto v = lanes.load(g + whole + c);
    for (int k = 0; k < K; ++k) dot[k] += lanes.sum(v * lanes.load(row[k] + whole + c));
  });
  if (whole)
    for (int k = 0; k < K; ++k) dot[k] += Lanes<W>::sum(total[k]);
}

// Where u lies among `size` vertices from 0 to 1. Positions outside use the border, and NaN the lower one:
// no input can leave the grid. Outside, nothing depends on the position: its slope is zero.
struct Along {
  int32_t cell;
  int32_t next; // from a vertex to the next one: 0 where there is one vertex only
  float fraction, scale;
  Along(float u, int32_t size) {
    const float above = u > 0.f ? u : 0.f, inside = above < 1.f ? above : 1.f; // without branches
    const float cells = static_cast<float>(size - 1);
    const float position = inside * cells;
    next = size > 1 ? 1 : 0;
    cell = std::min(static_cast<int32_t>(position), size - 1 - next);
    fraction = position - static_cast<float>(cell);
    scale = u >= 0.f && u <= 1.f ? cells : 0.f;
  }
  float weight(int upper) const { return upper ? fraction : 1 - fraction; }
  float slope(int upper) const { return upper ? scale : -scale; }
};

} // namespace FS_ISA
} // namespace fs
