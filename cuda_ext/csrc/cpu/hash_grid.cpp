// Multiresolution hash grid (Mueller et al. 2022, section 3) on CPU.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "../rows_with_gradient.h"
#include "../scratch.h"
#include "halves.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kChunk = 1024;      // samples of one task
// Samples in working memory at a time: what caches hold, or more where tables are so large that
// reading them anew for every slab would cost more.
constexpr int64_t kSlab = 12 * kChunk, kLargestSlab = 64 * kChunk, kLine = 64;
constexpr int64_t kSkew = 24;          // keeps the levels of one sample out of one cache set
constexpr uint32_t kPrimeY = 2654435761u, kPrimeZ = 805459861u;
constexpr int kMaxFeatures = 8;
constexpr size_t kNear = 1 << 19;      // bytes of a level that stay in a core's own cache

// Positions outside the unit cube use its border, and NaN the lower one: no input can leave the table.
inline float inside(float u) { return u > 0.f ? (u < 1.f ? u : 1.f) : 0.f; }

struct Strides {
  uint32_t y, z, mask;
  bool hashed;
  explicit Strides(const HashLevel& v)
      : y(v.hashed ? kPrimeY : v.resolution), z(v.hashed ? kPrimeZ : v.resolution * v.resolution),
        mask(v.size - 1), hashed(v.hashed != 0) {}
  // Entry of vertex (x, y', z') where y' and z' are already multiplied by their strides.
  uint32_t entry(uint32_t x, uint32_t sy, uint32_t sz) const {
    return hashed ? (x ^ sy ^ sz) & mask : x + sy + sz;
  }
};

struct Cell {
  uint32_t x, y, z;
  float fx, fy, fz;
  Cell(const float* u, float scale) {
    const float px = inside(u[0]) * scale + 0.5f, py = inside(u[1]) * scale + 0.5f, pz = inside(u[2]) * scale + 0.5f;
    x = static_cast<uint32_t>(static_cast<int32_t>(px));
    y = static_cast<uint32_t>(static_cast<int32_t>(py));
    z = static_cast<uint32_t>(static_cast<int32_t>(pz));
    fx = px - static_cast<float>(x), fy = py - static_cast<float>(y), fz = pz - static_cast<float>(z);
  }
  uint32_t entry(const Strides& s, int corner) const {
    return s.entry(x + (corner & 1), y * s.y + (corner & 2 ? s.y : 0), z * s.z + (corner & 4 ? s.z : 0));
  }
  float weight(int c) const {
    return (c & 1 ? fx : 1 - fx) * (c & 2 ? fy : 1 - fy) * (c & 4 ? fz : 1 - fz);
  }
  // Derivatives of the corner's weight along x, y, z (per cell, not yet times the level's scale).
  void slope(int c, float* d) const {
    const float wx = c & 1 ? fx : 1 - fx, wy = c & 2 ? fy : 1 - fy, wz = c & 4 ? fz : 1 - fz;
    d[0] = (c & 1 ? 1.f : -1.f) * wy * wz;
    d[1] = (c & 2 ? 1.f : -1.f) * wx * wz;
    d[2] = (c & 4 ? 1.f : -1.f) * wx * wy;
  }
  // Mixed second derivatives xy, xz, yz.
  void twist(int c, float* d) const {
    const float sx = c & 1 ? 1.f : -1.f, sy = c & 2 ? 1.f : -1.f, sz = c & 4 ? 1.f : -1.f;
    d[0] = sx * sy * (c & 4 ? fz : 1 - fz);
    d[1] = sx * sz * (c & 2 ? fy : 1 - fy);
    d[2] = sy * sz * (c & 1 ? fx : 1 - fx);
  }
};

template <int F> inline void add_scaled(float* y, const float* entry, float w) {
  for (int f = 0; f < F; ++f) y[f] += w * entry[f];
}

// One level at one position, any instruction set.
template <int F> inline void encode_one(const float* u, const float* table, const HashLevel& v, const Strides& s, float* y) {
  const Cell cell(u, v.scale);
  float value[F] = {};
  for (int c = 0; c < 8; ++c)
    add_scaled<F>(value, table + static_cast<size_t>(cell.entry(s, c)) * F, cell.weight(c));
  for (int f = 0; f < F; ++f) y[f] = value[f];
}

#if defined(__AVX2__) || defined(__AVX512F__)
// W positions at once: indices and weights of the eight corners.
struct Corners {
  alignas(64) uint32_t entry[8][W];
  alignas(64) float weight[8][W];
  Corners(const float* const* u, float scale, const Strides& s) {
    const vf one = splat(1.f), half = splat(0.5f), k = splat(scale);
    const vf px = load(u[0]) * k + half, py = load(u[1]) * k + half, pz = load(u[2]) * k + half;
    const vi ix = to_int(px), iy = to_int(py), iz = to_int(pz);
    const vf fx = px - to_float(ix), fy = py - to_float(iy), fz = pz - to_float(iz);
    const vu x0 = (vu)ix, x1 = x0 + 1u, y0 = (vu)iy * s.y, y1 = y0 + s.y, z0 = (vu)iz * s.z, z1 = z0 + s.z;
    const vf gx = one - fx, gy = one - fy, gz = one - fz;
    for (int c = 0; c < 8; ++c) {
      const vu x = c & 1 ? x1 : x0, y = c & 2 ? y1 : y0, z = c & 4 ? z1 : z0;
      const vu id = s.hashed ? (x ^ y ^ z) & s.mask : x + y + z;
      const vf w = (c & 1 ? fx : gx) * (c & 2 ? fy : gy) * (c & 4 ? fz : gz);
      std::memcpy(entry[c], &id, sizeof(id));
      std::memcpy(weight[c], &w, sizeof(w));
    }
  }
  // Entries of a hashed level lie anywhere: asked for one vector of positions ahead, they arrive in time.
  template <int F> void prefetch(const float* table) const {
    for (int c = 0; c < 8; ++c)
      for (int lane = 0; lane < W; ++lane) __builtin_prefetch(table + static_cast<size_t>(entry[c][lane]) * F, 1);
  }
};

#if defined(__AVX512F__)
// Eight entries of two features each. Plain loads are a little faster than a gather instruction here.
inline __m512 eight_pairs(const double* pairs, const uint32_t* entry) {
  const auto two = [&](int k) { return _mm_loadh_pd(_mm_load_sd(pairs + entry[k]), pairs + entry[k + 1]); };
  const __m256d low = _mm256_insertf128_pd(_mm256_castpd128_pd256(two(0)), two(2), 1);
  const __m256d high = _mm256_insertf128_pd(_mm256_castpd128_pd256(two(4)), two(6), 1);
  return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1));
}
#endif

// W positions, two features: one 64-bit gather brings both features of an entry.
inline void encode_pairs(const Corners& k, const float* table, float* low, float* high) {
  const double* pairs = reinterpret_cast<const double*>(table);
#if defined(__AVX512F__)
  const __m512i spread_low = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  const __m512i spread_high = _mm512_set_epi32(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8);
  __m512 a = _mm512_setzero_ps(), b = a;
  for (int c = 0; c < 8; ++c) {
    const __m512 w = _mm512_load_ps(k.weight[c]);
    const __m512 ga = eight_pairs(pairs, k.entry[c]), gb = eight_pairs(pairs, k.entry[c] + 8);
    a = _mm512_fmadd_ps(_mm512_permutexvar_ps(spread_low, w), ga, a);
    b = _mm512_fmadd_ps(_mm512_permutexvar_ps(spread_high, w), gb, b);
  }
  _mm512_storeu_ps(low, a);
  _mm512_storeu_ps(high, b);
#else
  const __m256i spread_low = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
  const __m256i spread_high = _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4);
  __m256 a = _mm256_setzero_ps(), b = a;
  for (int c = 0; c < 8; ++c) {
    const __m256i id = _mm256_load_si256(reinterpret_cast<const __m256i*>(k.entry[c]));
    const __m256 w = _mm256_load_ps(k.weight[c]);
    const __m256 ga = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_castsi256_si128(id), 8));
    const __m256 gb = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_extracti128_si256(id, 1), 8));
    a = _mm256_fmadd_ps(_mm256_permutevar8x32_ps(w, spread_low), ga, a);
    b = _mm256_fmadd_ps(_mm256_permutevar8x32_ps(w, spread_high), gb, b);
  }
  _mm256_storeu_ps(low, a);
  _mm256_storeu_ps(high, b);
#endif
}

#endif

// Positions of a slab of samples, one axis after another, padded to whole chunks.
struct Columns {
  float* data;
  int64_t stride;
  Columns(const float* u, int64_t N, int threads) : stride((N + kChunk - 1) / kChunk * kChunk) {
    static thread_local Scratch scratch;
    data = scratch.floats(3 * stride);
    parallel_chunks(stride, kChunk, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        for (int k = 0; k < 3; ++k) data[k * stride + i] = i < N ? inside(u[3 * i + k]) : 0.5f;
    });
  }
  const float* axis(int k) const { return data + k * stride; }
};

// One level of `count` consecutive samples into out[count, F] (room for whole vectors).
template <int F>
void encode_level(const Columns& columns, int64_t begin, int64_t count, const float* table, const HashLevel& v,
                  float* out) {
  const Strides s(v);
#if defined(__AVX2__) || defined(__AVX512F__)
  constexpr int kEntries = kLine / (F * sizeof(float)); // of a cache line
  // A small level is read from end to end first, which is faster than line by line in the order of the samples.
  if (v.size * F * sizeof(float) <= kNear && count * 8 > v.size)
    for (uint32_t entry = 0; entry < v.size; entry += kEntries)
      __builtin_prefetch(table + static_cast<size_t>(entry) * F);
  const auto corners_at = [&](int64_t i) {
    const float* u[3] = {columns.axis(0) + begin + i, columns.axis(1) + begin + i, columns.axis(2) + begin + i};
    return Corners(u, v.scale, s);
  };
  Corners next = corners_at(0);
  for (int64_t i = 0; i < count; i += W) {
    const Corners corners = next;
    if (i + W < count) {
      next = corners_at(i + W);
      if (s.hashed && v.size * F * sizeof(float) > kNear) next.template prefetch<F>(table);
    }
    if constexpr (F == 2) {
      encode_pairs(corners, table, out + i * F, out + i * F + W);
    } else {
      for (int lane = 0; lane < W; ++lane) {
        float sum[F] = {};
        for (int c = 0; c < 8; ++c)
          add_scaled<F>(sum, table + static_cast<size_t>(corners.entry[c][lane]) * F, corners.weight[c][lane]);
        std::memcpy(out + (i + lane) * F, sum, sizeof(sum));
      }
    }
  }
#else
  for (int64_t i = 0; i < count; ++i) {
    const float u[3] = {columns.axis(0)[begin + i], columns.axis(1)[begin + i], columns.axis(2)[begin + i]};
    encode_one<F>(u, table, v, s, out + i * F);
  }
#endif
}

// Features of samples [begin, end), one level after another, to lie beside the other levels' in rows of `width`.
template <int F>
void beside(const float* by_level, int64_t stride, int64_t begin, int64_t end, int L, float* y, int width) {
  for (int64_t i = begin; i < end; ++i, y += width) {
    const float* from = by_level + i * F;
    float* to = y;
    for (int l = 0; l < L; ++l, from += stride * F, to += F) std::memcpy(to, from, F * sizeof(float));
  }
}

// Features of the samples in rows [begin, end), to lie level by level.
template <int F>
void apart(const float* y, const int64_t* row, int64_t begin, int64_t end, int L, float* by_level, int64_t stride) {
  for (int64_t i = begin; i < end; ++i) {
    const float* from = y + row[i] * L * F;
    float* to = by_level + i * F;
    for (int l = 0; l < L; ++l, from += F, to += stride * F) std::memcpy(to, from, F * sizeof(float));
  }
}

// Level by level, each on one thread where there are levels enough: its part of the table then enters one
// core's cache once. A level's features lie together until finish(by_level, stride, begin, end) takes them.
template <int F, class Finish>
void forward_slab(const float* u, const float* table, const HashLevel* levels, int L, int64_t N, int threads,
                  const Finish& finish) {
  static thread_local Scratch scratch;
  const Columns columns(u, N, threads);
  const int64_t stride = columns.stride + kSkew;
  float* by_level = scratch.floats(L * stride * F);
  const int64_t parts = (threads + L - 1) / L, chunks = columns.stride / kChunk;
  parallel_tasks(L * parts, threads, [&](int64_t task, int) {
    const int64_t l = L - 1 - task / parts, part = task % parts;
    const int64_t begin = chunks * part / parts * kChunk, end = chunks * (part + 1) / parts * kChunk;
    encode_level<F>(columns, begin, end - begin, table + levels[l].offset * F, levels[l],
                    by_level + (l * stride + begin) * F);
  });
  parallel_chunks(N, kChunk, threads, [&](int64_t begin, int64_t end, int) { finish(by_level, stride, begin, end); });
}

// Slab by slab; finish(first sample of the slab, by_level, stride, begin, end).
template <int F, class Finish>
void forward(const float* u, const float* table, const HashLevel* levels, int L, int64_t N, int threads,
             const Finish& finish) {
  const int64_t lines = static_cast<int64_t>(levels[L - 1].size) * F * static_cast<int64_t>(sizeof(float)) / kLine;
  const int64_t slab = std::min(std::max(kSlab, lines / kChunk * kChunk), kLargestSlab);
  for (int64_t first = 0; first < N; first += slab)
    forward_slab<F>(u + 3 * first, table, levels, L, std::min(slab, N - first), threads,
                    [&](const float* by_level, int64_t stride, int64_t begin, int64_t end) {
                      finish(first, by_level, stride, begin, end);
                    });
}

template <int F>
void encode(const float* u, const float* table, const HashLevel* levels, int L, int64_t N, float* y, int threads) {
  const int width = L * F;
  forward<F>(u, table, levels, L, N, threads,
             [=](int64_t first, const float* by_level, int64_t stride, int64_t begin, int64_t end) {
               beside<F>(by_level, stride, begin, end, L, y + (first + begin) * width, width);
             });
}

// Encoded and through a network block by block: the features never leave the cache.
template <int F, class Block, class Weights>
void encode_through(const Weights& weights, const float* u, const float* table, const HashLevel* levels, int L,
                    int64_t N, float* y, int threads) {
  const Network& net = weights.net;
  const int in = net.stride.front(), out = net.width.back();
  forward<F>(u, table, levels, L, N, threads,
             [&](int64_t first, const float* by_level, int64_t stride, int64_t begin, int64_t end) {
               static thread_local Block block;
               block.resize(weights, kBlock);
               std::fill(block.input.begin(), block.input.end(), 0.f);
               for (int64_t i = begin; i < end; i += kBlock) {
                 const int64_t rows = std::min<int64_t>(kBlock, end - i);
                 beside<F>(by_level, stride, i, i + rows, L, block.input.data(), in);
                 block.forward(weights, kBlock);
                 unpad_rows(block.output.data(), rows, net.stride.back(), y + (first + i) * out, out);
               }
             });
}

// Lane j of an accumulator holds feature j % F of corner j / F; its weight is the product over the
// axes of (base + sign * fraction).
template <int F> struct LaneWeights {
  static constexpr int kLanes = (8 * F + W - 1) / W * W;
  alignas(64) float base[3][kLanes] = {};
  alignas(64) float sign[3][kLanes] = {};
  LaneWeights() {
    for (int j = 0; j < 8 * F; ++j)
      for (int k = 0; k < 3; ++k) {
        const bool upper = (j / F) >> k & 1;
        base[k][j] = upper ? 0.f : 1.f;
        sign[k][j] = upper ? 1.f : -1.f;
      }
  }
};

// W features from `g` on, from its start again after every F where a vector holds more than F.
template <int F> inline vf repeat(const float* g) {
#if defined(__AVX512F__)
  if constexpr (F == 2) {
    double pair;
    std::memcpy(&pair, g, sizeof(pair));
    return (vf)_mm512_set1_pd(pair);
  }
  if constexpr (F == 4) return (vf)_mm512_broadcast_f32x4(_mm_loadu_ps(g));
#elif defined(__AVX2__)
  if constexpr (F == 2) {
    double pair;
    std::memcpy(&pair, g, sizeof(pair));
    return (vf)_mm256_set1_pd(pair);
  }
#endif
  vf v;
  for (int j = 0; j < W; ++j) v[j] = g[j % F];
  return v;
}

// Adds one level's gradient. Consecutive samples in the same cell (samples along a ray) are summed in
// registers first. Only entries in [first, last) are written, so that tasks share a level without races.
template <int F>
void scatter_level(const float* u, const float* gy, int64_t N, const HashLevel& v, uint32_t first, uint32_t last,
                   float* gtable) {
  static const LaneWeights<F> lanes;
  constexpr int V = LaneWeights<F>::kLanes / W;
  const Strides s(v);
  vf sum[V] = {};
  uint32_t x = ~0u, y = 0, z = 0;
  const auto flush = [&] {
    if (x == ~0u) return;
    alignas(64) float value[V * W];
    for (int k = 0; k < V; ++k) std::memcpy(value + k * W, &sum[k], sizeof(vf));
    const uint32_t y0 = y * s.y, z0 = z * s.z;
    for (int c = 0; c < 8; ++c) {
      const uint32_t id = s.entry(x + (c & 1), c & 2 ? y0 + s.y : y0, c & 4 ? z0 + s.z : z0);
      if (id < first || id >= last) continue;
      float* entry = gtable + static_cast<size_t>(id) * F;
      for (int f = 0; f < F; ++f) entry[f] += value[c * F + f];
    }
  };
  for (int64_t i = 0; i < N; ++i) {
    const Cell cell(u + 3 * i, v.scale);
    if (cell.x != x || cell.y != y || cell.z != z) {
      flush();
      x = cell.x, y = cell.y, z = cell.z;
      for (int k = 0; k < V; ++k) sum[k] = vf{};
    }
    const vf fx = splat(cell.fx), fy = splat(cell.fy), fz = splat(cell.fz);
    for (int k = 0; k < V; ++k) {
      const vf g = repeat<F>(gy + i * F + k * W % F);
      const vf wx = load(lanes.base[0] + k * W) + load(lanes.sign[0] + k * W) * fx;
      const vf wy = load(lanes.base[1] + k * W) + load(lanes.sign[1] + k * W) * fy;
      const vf wz = load(lanes.base[2] + k * W) + load(lanes.sign[2] + k * W) * fz;
      sum[k] += wx * wy * wz * g;
    }
  }
  flush();
}

#if defined(__AVX2__) || defined(__AVX512F__)
// The same for a hashed level, where neighbours along a ray seldom share a cell but every entry is a cache miss.
template <int F>
void scatter_hashed(const float* u, const float* gy, int64_t N, const HashLevel& v, uint32_t first, uint32_t last,
                    float* gtable) {
  const Strides s(v);
  const auto corners_at = [&](int64_t i) {
    alignas(64) float axis[3][W];
    for (int lane = 0; lane < W; ++lane)
      for (int k = 0; k < 3; ++k) axis[k][lane] = inside(u[3 * std::min(i + lane, N - 1) + k]);
    const float* columns[3] = {axis[0], axis[1], axis[2]};
    return Corners(columns, v.scale, s);
  };
  if (N == 0) return;
  Corners next = corners_at(0);
  next.template prefetch<F>(gtable);
  for (int64_t i = 0; i < N; i += W) {
    const Corners corners = next;
    if (i + W < N) {
      next = corners_at(i + W);
      next.template prefetch<F>(gtable);
    }
    const int lanes = static_cast<int>(std::min<int64_t>(W, N - i));
    for (int lane = 0; lane < lanes; ++lane) {
      const float* g = gy + (i + lane) * F;
      for (int c = 0; c < 8; ++c) {
        const uint32_t id = corners.entry[c][lane];
        if (id >= first && id < last) add_scaled<F>(gtable + static_cast<size_t>(id) * F, g, corners.weight[c][lane]);
      }
    }
  }
}
#endif

template <int F>
void scatter(const float* u, const float* gy, const HashLevel* levels, int L, int64_t N, float* gtable, int threads) {
  const std::vector<int64_t> rows = nonzero_rows(gy, N, L * F, threads);
  const int64_t count = static_cast<int64_t>(rows.size());
  static thread_local Scratch features, positions;
  float *by_level = features.floats(L * count * F), *place = positions.floats(3 * count);
  const int64_t* row = rows.data();
  parallel_chunks(count, kChunk, threads, [=](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) std::memcpy(place + 3 * i, u + 3 * row[i], 3 * sizeof(float));
    apart<F>(gy, row, begin, end, L, by_level, count);
  });
  const int parts = (threads + L - 1) / L;
  parallel_tasks(static_cast<int64_t>(L) * parts, threads, [&](int64_t task, int) {
    const int l = L - 1 - static_cast<int>(task / parts), part = static_cast<int>(task % parts);
    const HashLevel& v = levels[l];
    const auto bound = [&](int k) { return static_cast<uint32_t>(static_cast<uint64_t>(v.size) * k / parts); };
    float* gradient = gtable + v.offset * F;
    const float* g = by_level + l * count * F;
#if defined(__AVX2__) || defined(__AVX512F__)
    if (v.hashed) return scatter_hashed<F>(place, g, count, v, bound(part), bound(part + 1), gradient);
#endif
    scatter_level<F>(place, g, count, v, bound(part), bound(part + 1), gradient);
  });
}

template <int F>
void position_gradient(const float* u, const float* table, const float* gy, const HashLevel* levels, int L,
                       int64_t N, float* gu, int threads) {
  parallel_chunks(N, kChunk, threads, [=](int64_t begin, int64_t end, int) {
    std::fill(gu + 3 * begin, gu + 3 * end, 0.f);
    for (int l = 0; l < L; ++l) {
      const HashLevel& v = levels[l];
      const Strides s(v);
      for (int64_t i = begin; i < end; ++i) {
        const Cell cell(u + 3 * i, v.scale);
        const float* g = gy + (i * L + l) * F;
        float total[3] = {};
        for (int c = 0; c < 8; ++c) {
          const float* entry = table + (v.offset + cell.entry(s, c)) * F;
          float dot = 0, slope[3];
          for (int f = 0; f < F; ++f) dot += g[f] * entry[f];
          cell.slope(c, slope);
          for (int k = 0; k < 3; ++k) total[k] += dot * slope[k];
        }
        for (int k = 0; k < 3; ++k) gu[3 * i + k] += v.scale * total[k];
      }
    }
  });
}

// s = <ggu, d<gy, y>/du> is linear in gy and in the table: corner c counts with
// D_c = scale * sum_k ggu_k dw_c/dx_k.
template <int F>
void second_order(const float* u, const float* table, const float* gy, const float* ggu, const HashLevel* levels,
                  int L, int64_t N, float* ggy, float* gu, int threads) {
  parallel_chunks(N, kChunk, threads, [=](int64_t begin, int64_t end, int) {
    if (gu) std::fill(gu + 3 * begin, gu + 3 * end, 0.f);
    for (int l = 0; l < L; ++l) {
      const HashLevel& v = levels[l];
      const Strides s(v);
      for (int64_t i = begin; i < end; ++i) {
        const Cell cell(u + 3 * i, v.scale);
        const float *g = gy + (i * L + l) * F, *q = ggu + 3 * i;
        float value[F] = {}, total[3] = {};
        for (int c = 0; c < 8; ++c) {
          const float* entry = table + (v.offset + cell.entry(s, c)) * F;
          float slope[3], twist[3], dot = 0;
          cell.slope(c, slope);
          cell.twist(c, twist);
          add_scaled<F>(value, entry, v.scale * (q[0] * slope[0] + q[1] * slope[1] + q[2] * slope[2]));
          for (int f = 0; f < F; ++f) dot += g[f] * entry[f];
          total[0] += dot * (q[1] * twist[0] + q[2] * twist[1]);
          total[1] += dot * (q[0] * twist[0] + q[2] * twist[2]);
          total[2] += dot * (q[0] * twist[1] + q[1] * twist[2]);
        }
        if (ggy) std::memcpy(ggy + (i * L + l) * F, value, sizeof(value));
        if (gu)
          for (int k = 0; k < 3; ++k) gu[3 * i + k] += v.scale * v.scale * total[k];
      }
    }
  });
}

template <int F>
void second_order_scatter(const float* u, const float* gy, const float* ggu, const HashLevel* levels, int L,
                          int64_t N, float* gtable, int threads) {
  parallel_tasks(L, threads, [=](int64_t l, int) {
    const HashLevel& v = levels[l];
    const Strides s(v);
    for (int64_t i = 0; i < N; ++i) {
      const Cell cell(u + 3 * i, v.scale);
      const float *g = gy + (i * L + l) * F, *q = ggu + 3 * i;
      for (int c = 0; c < 8; ++c) {
        float slope[3];
        cell.slope(c, slope);
        add_scaled<F>(gtable + (v.offset + cell.entry(s, c)) * F, g,
                      v.scale * (q[0] * slope[0] + q[1] * slope[1] + q[2] * slope[2]));
      }
    }
  });
}

template <class Body> void with_features(int32_t F, const Body& body) {
  switch (F) {
  case 1: return body(std::integral_constant<int, 1>{});
  case 2: return body(std::integral_constant<int, 2>{});
  case 4: return body(std::integral_constant<int, 4>{});
  case kMaxFeatures: return body(std::integral_constant<int, kMaxFeatures>{});
  default: return; // the Python face admits 1, 2, 4 and 8 only
  }
}

} // namespace

void hash_grid_forward(const float* u, const float* table, const HashLevel* levels, int32_t L, int32_t F,
                       int64_t N, float* y, int32_t threads) {
  with_features(F, [&](auto f) { encode<f()>(u, table, levels, L, N, y, threads); });
}

void hash_network_forward(const float* u, const float* table, const HashLevel* levels, int32_t L, int32_t F,
                          const float* weights, const int32_t* widths, int32_t layers, int32_t half, int64_t N,
                          float* y, int32_t threads) {
  const auto through = [&](auto f, auto block, const auto& network) {
    encode_through<f(), decltype(block)>(network, u, table, levels, L, N, y, threads);
  };
  with_features(F, [&](auto f) {
    if (half)
      through(f, HalfBlock{}, HalfNetwork(weights, widths, layers, false));
    else
      through(f, SingleBlock{}, SingleNetwork(weights, widths, layers, false));
  });
}

void hash_grid_backward(const float* u, const float* table, const float* gy, const HashLevel* levels, int32_t L,
                        int32_t F, int64_t N, float* gtable, float* gu, int32_t threads) {
  with_features(F, [&](auto f) {
    if (gtable) scatter<f()>(u, gy, levels, L, N, gtable, threads);
    if (gu) position_gradient<f()>(u, table, gy, levels, L, N, gu, threads);
  });
}

void hash_grid_backward_backward(const float* u, const float* table, const float* gy, const float* ggu,
                                 const HashLevel* levels, int32_t L, int32_t F, int64_t N, float* ggy,
                                 float* gtable, float* gu, int32_t threads) {
  with_features(F, [&](auto f) {
    if (ggy || gu) second_order<f()>(u, table, gy, ggu, levels, L, N, ggy, gu, threads);
    if (gtable) second_order_scatter<f()>(u, gy, ggu, levels, L, N, gtable, threads);
  });
}

} // namespace FS_ISA
} // namespace fs
