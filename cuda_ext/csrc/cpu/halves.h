// Matrix products of bfloat16 values with sums in single precision: by tiles where the processor has them (AMX), two
// products in each lane at once where it has those (AVX512_BF16), the same values elsewhere.
#pragma once
#include "dense.h"

namespace fs {
namespace FS_ISA {
namespace {

typedef uint16_t vh __attribute__((vector_size(2 * W)));

constexpr int kUnit = 16; // rows and columns are padded to whole tiles of any instruction set

// Rounded to bfloat16, which is the upper half of each lane.
inline vu rounded(vf v) {
#if defined(__AVX512BF16__)
  return (vu)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v)), 16);
#else
  const vu bits = (vu)v, up = bits + 0x7fffu + (bits >> 16 & 1u);
  return (v == v ? up : bits | 0x400000u) & 0xffff0000u;
#endif
}

// Words of two values, the first in the lower half.
inline vu pair(vf first, vf second) {
#if defined(__AVX512BF16__)
  const __m512i low = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                       5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (vu)_mm512_permutexvar_epi16(low, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
#else
  return rounded(first) >> 16 | rounded(second);
#endif
}

inline void store_row(uint16_t* p, vf v) {
#if defined(__AVX512BF16__)
  const __m256i row = (__m256i)_mm512_cvtneps_pbh((__m512)v);
#else
  const vh row = __builtin_convertvector(rounded(v) >> 16, vh);
#endif
  std::memcpy(p, &row, sizeof(row));
}

inline vu load_row(const uint16_t* p) {
  vh row;
  std::memcpy(&row, p, sizeof(row));
  return __builtin_convertvector(row, vu);
}

inline vu load_words(const uint32_t* p) {
  vu words;
  std::memcpy(&words, p, sizeof(words));
  return words;
}

inline void store_words(uint32_t* p, vu words) { std::memcpy(p, &words, sizeof(words)); }

inline vf add_products(vf sum, vu a, vu b) {
#if defined(__AVX512BF16__)
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  return sum + (vf)(a << 16) * (vf)(b << 16) + (vf)(a & 0xffff0000u) * (vf)(b & 0xffff0000u);
#endif
}

#if defined(__AMX_BF16__)

constexpr int kTile = 16; // rows of a tile, and words in each of them

// Tiles 0 to 3 hold sums, 4 and 5 rows of A, 6 and 7 columns of B. The processor reads this, 64 bytes of it.
struct TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};

  constexpr explicit TileShapes(int words) { // along K, in each product
    for (int t = 0; t < 8; ++t) {
      bytes[t] = static_cast<uint16_t>(t == 4 || t == 5 ? 4 * words : 4 * kTile);
      rows[t] = static_cast<uint8_t>(t < 6 ? kTile : words);
    }
  }
};
alignas(64) constexpr TileShapes kWholeTiles(kTile), kHalfTiles(kTile / 2);

// The intrinsics do not say what memory they read.
inline void finish_stores() { asm volatile("" ::: "memory"); }

// to[16, 16] = from[16, 16], turned
inline void turn_tile(const uint32_t* from, int64_t from_stride, uint32_t* to, int64_t to_stride) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = (__m512i)load_words(from + i * from_stride);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]), b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
      a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
    }
  for (int j = 0; j < 4; ++j) { // columns j, j + 4, j + 8 and j + 12 of four rows each
    const __m512i low = _mm512_shuffle_i32x4(a[j], a[j + 4], 0x88), high = _mm512_shuffle_i32x4(a[j], a[j + 4], 0xdd);
    const __m512i low8 = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0x88);
    const __m512i high8 = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0xdd);
    store_words(to + j * to_stride, (vu)_mm512_shuffle_i32x4(low, low8, 0x88));
    store_words(to + (j + 4) * to_stride, (vu)_mm512_shuffle_i32x4(high, high8, 0x88));
    store_words(to + (j + 8) * to_stride, (vu)_mm512_shuffle_i32x4(low, low8, 0xdd));
    store_words(to + (j + 12) * to_stride, (vu)_mm512_shuffle_i32x4(high, high8, 0xdd));
  }
}

// put for R tiles of rows, from row m on, and C tiles of columns, from column n on; a starts at row m.
template <int R, int C, class Put>
inline void block_of_tiles(const uint32_t* a, int64_t a_stride, const uint32_t* b, int m, int n, int K, int N,
                           int words, const Put& put) {
  _tile_zero(0);
  if constexpr (C > 1) _tile_zero(1);
  if constexpr (R > 1) _tile_zero(2);
  if constexpr (R > 1 && C > 1) _tile_zero(3);
  for (int k = 0; k < K; k += words) {
    const uint32_t* row = b + static_cast<int64_t>(k) * N + n;
    _tile_loadd(4, a + k, 4 * a_stride);
    _tile_loadd(6, row, 4 * N);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (C > 1) {
      _tile_loadd(7, row + kTile, 4 * N);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R > 1) {
      _tile_loadd(5, a + kTile * a_stride + k, 4 * a_stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (C > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  alignas(64) float sums[R * kTile][C * kTile];
  constexpr int bytes = sizeof(sums[0]);
  _tile_stored(0, sums[0], bytes);
  if constexpr (C > 1) _tile_stored(1, sums[0] + kTile, bytes);
  if constexpr (R > 1) _tile_stored(2, sums[kTile], bytes);
  if constexpr (R > 1 && C > 1) _tile_stored(3, sums[kTile] + kTile, bytes);
  finish_stores();
  constexpr int kRows = 4;
  for (int r = 0; r < R * kTile; r += kRows) {
    vf part[kRows][C];
    for (int i = 0; i < kRows; ++i)
      for (int p = 0; p < C; ++p) part[i][p] = load(sums[r + i] + p * W);
    put(m + r, n, part);
  }
}

// put(m, n, sums of R rows and P vectors) for all of A B, with A[M, 2K] as words a[row * row_step + k * k_step] and
// B[2K, N] as words b[K, N]; one of the steps is 1. M and N are multiples of kUnit.
template <class Put>
void multiply_halves(const uint32_t* a, int64_t row_step, int64_t k_step, const uint32_t* b, int M, int K, int N,
                     const Put& put) {
  static thread_local std::vector<uint32_t> turned;
  const int words = K % kTile ? kTile / 2 : kTile;
  _tile_loadconfig(K % kTile ? &kHalfTiles : &kWholeTiles);
  for (int m = 0; m < M; m += 2 * kTile) {
    const int rows = std::min(2 * kTile, M - m);
    const uint32_t* block = a + m * row_step;
    int64_t stride = row_step;
    if (k_step != 1) { // K is a number of samples here, a multiple of kTile
      turned.resize(static_cast<size_t>(2 * kTile) * K), stride = K;
      for (int r = 0; r < rows; r += kTile)
        for (int k = 0; k < K; k += kTile)
          turn_tile(block + r + k * k_step, k_step, turned.data() + r * stride + k, stride);
      block = turned.data();
    }
    finish_stores();
    for (int n = 0; n < N; n += 2 * kTile) {
      const bool wide = N - n > kTile;
      if (rows > kTile && wide)
        block_of_tiles<2, 2>(block, stride, b, m, n, K, N, words, put);
      else if (rows > kTile)
        block_of_tiles<2, 1>(block, stride, b, m, n, K, N, words, put);
      else if (wide)
        block_of_tiles<1, 2>(block, stride, b, m, n, K, N, words, put);
      else
        block_of_tiles<1, 1>(block, stride, b, m, n, K, N, words, put);
    }
  }
  _tile_release();
}

#else

// put(m, n, sums of R rows and P vectors) for all of A B, with A[M, 2K] as words a[row * row_step + k * k_step] and
// B[2K, N] as words b[K, N]; M and N are multiples of kUnit.
template <int P, class Put>
inline void panel_of_halves(const uint32_t* a, int64_t row_step, int64_t k_step, const uint32_t* b, int M, int K, int N,
                            int n, const Put& put) {
  constexpr int R = kAccumulators / P;
  for (int m = 0; m < M; m += R) {
    vf sum[R][P] = {};
    for (int k = 0; k < K; ++k) {
      vu column[P];
      for (int p = 0; p < P; ++p) column[p] = load_words(b + static_cast<int64_t>(k) * N + n + p * W);
      for (int r = 0; r < R; ++r) {
        const vu x = splat_u(a[(m + r) * row_step + k * k_step]);
        for (int p = 0; p < P; ++p) sum[r][p] = add_products(sum[r][p], x, column[p]);
      }
    }
    put(m, n, sum);
  }
}

template <class Put>
void multiply_halves(const uint32_t* a, int64_t row_step, int64_t k_step, const uint32_t* b, int M, int K, int N,
                     const Put& put) {
  int n = 0;
  for (; n + 4 * W <= N; n += 4 * W) panel_of_halves<4>(a, row_step, k_step, b, M, K, N, n, put);
  for (; n + 2 * W <= N; n += 2 * W) panel_of_halves<2>(a, row_step, k_step, b, M, K, N, n, put);
  for (; n < N; n += W) panel_of_halves<1>(a, row_step, k_step, b, M, K, N, n, put);
}

#endif

// Stores an array of vectors [R][P] at row m, column n of a matrix.
template <int R, int P> inline void put_rows(const vf (&v)[R][P], uint16_t* rows, int stride, int m, int n) {
  for (int r = 0; r < R; ++r) {
    uint16_t* row = rows + (m + r) * stride + n;
#if defined(__AVX512BF16__)
    for (int p = 0; p + 1 < P; p += 2) {
      const __m512bh two = _mm512_cvtne2ps_pbh((__m512)v[r][p + 1], (__m512)v[r][p]);
      std::memcpy(row + p * W, &two, sizeof(two));
    }
    if constexpr (P % 2) store_row(row + (P - 1) * W, v[r][P - 1]);
#else
    for (int p = 0; p < P; ++p) store_row(row + p * W, v[r][p]);
#endif
  }
}

template <int R, int P> inline void put_pairs(const vf (&v)[R][P], uint32_t* pairs, int stride, int m, int n) {
  for (int r = 0; r < R; r += 2)
    for (int p = 0; p < P; ++p) store_words(pairs + (m + r) / 2 * stride + n + p * W, pair(v[r][p], v[r + 1][p]));
}

// A matrix [M, stride] in both forms: rows of values, and words of two rows. Sums over columns read the first, sums
// over rows the second.
struct Halves {
  std::vector<uint16_t> rows;
  std::vector<uint32_t> pairs;

  void resize(int M, int stride) { rows.resize(static_cast<size_t>(M) * stride), pairs.resize(rows.size() / 2); }
  const uint32_t* words() const { return reinterpret_cast<const uint32_t*>(rows.data()); }
  template <int R, int P> void put(const vf (&v)[R][P], int stride, int m, int n, bool both = true) {
    put_rows(v, rows.data(), stride, m, n);
    if (both) put_pairs(v, pairs.data(), stride, m, n);
  }
  void put(const float* from, int M, int stride, bool both = true) {
    for (int m = 0; m < M; m += 2)
      for (int n = 0; n < stride; n += W) {
        const vf v[2][1] = {{load(from + m * stride + n)}, {load(from + (m + 1) * stride + n)}};
        put(v, stride, m, n, both);
      }
  }
};

inline std::vector<uint32_t> pairs_of(const std::vector<float>& matrices, const Network& net, bool transposed) {
  std::vector<uint32_t> words(matrices.size() / 2);
  for (int k = 0; k < net.layers; ++k) {
    const int rows = net.stride[transposed ? k + 1 : k], columns = net.stride[transposed ? k : k + 1];
    const float* from = matrices.data() + net.packed[k];
    for (int i = 0; i < rows; i += 2)
      for (int j = 0; j < columns; j += W)
        store_words(words.data() + net.packed[k] / 2 + i / 2 * columns + j,
                    pair(load(from + i * columns + j), load(from + (i + 1) * columns + j)));
  }
  return words;
}

// A network with its weights in bfloat16.
struct HalfNetwork {
  Network net;
  std::vector<uint32_t> weights, transposed;

  HalfNetwork(const float* given, const int32_t* widths, int32_t layers, bool back = true)
      : net(widths, layers, kUnit), weights(pairs_of(net.pack(given), net, false)) {
    if (back) transposed = pairs_of(net.pack_transposed(given), net, true);
  }
};

// What a block of samples leaves in a network on its way forward, for the way back.
struct HalfBlock {
  std::vector<float> input, output, gradient; // [M, stride] single precision; gradient: of the output, then the input
  std::vector<Halves> active;                 // input of each layer
  Halves passed, next;                        // gradients between layers

  static int rows(int count) { return padded(count, 2 * kUnit); }

  // Room for a block of M samples, a multiple of 2 kUnit. Rows that are not filled must be zero.
  void resize(const HalfNetwork& half, int M) {
    const Network& net = half.net;
    active.resize(net.layers);
    for (int k = 0; k < net.layers; ++k) active[k].resize(M, net.stride[k]);
    input.resize(static_cast<size_t>(M) * net.stride[0]);
    output.resize(static_cast<size_t>(M) * net.stride[net.layers]);
    gradient.resize(static_cast<size_t>(M) * net.widest);
    passed.resize(M, net.widest), next.resize(M, net.widest);
  }

  void forward(const HalfNetwork& half, int M) {
    const Network& net = half.net;
    const bool back = !half.transposed.empty(); // only the way back reads pairs
    active[0].put(input.data(), M, net.stride[0], back);
    for (int k = 0; k < net.layers; ++k) {
      const int in = net.stride[k], out = net.stride[k + 1];
      const uint32_t* matrix = half.weights.data() + net.packed[k] / 2;
      if (k + 1 < net.layers)
        multiply_halves(active[k].words(), in / 2, 1, matrix, M, in / 2, out, [&](int m, int n, auto& sum) {
          for (auto& row : sum)
            for (vf& v : row) v = relu(v);
          active[k + 1].put(sum, out, m, n, back);
        });
      else
        multiply_halves(active[k].words(), in / 2, 1, matrix, M, in / 2, out, [&](int m, int n, auto& sum) {
          for (const auto& row : sum) {
            for (size_t p = 0; p < sizeof(row) / sizeof(vf); ++p) store(output.data() + m * out + n + p * W, row[p]);
            ++m;
          }
        });
    }
  }

  // `gradient` of the output becomes that of the input; the weights' is added to sum, laid out like them.
  void backward(const HalfNetwork& half, int M, float* sum) {
    const Network& net = half.net;
    passed.put(gradient.data(), M, net.stride[net.layers]);
    for (int k = net.layers - 1; k >= 0; --k) {
      const int in = net.stride[k], out = net.stride[k + 1];
      float* total = sum + net.packed[k];
      multiply_halves(active[k].pairs.data(), 1, in, passed.pairs.data(), in, M / 2, out, [&](int m, int n, auto& v) {
        for (const auto& row : v) {
          for (size_t p = 0; p < sizeof(row) / sizeof(vf); ++p) {
            float* to = total + m * out + n + p * W;
            store(to, load(to) + row[p]);
          }
          ++m;
        }
      });
      const uint32_t* matrix = half.transposed.data() + net.packed[k] / 2;
      multiply_halves(passed.words(), out / 2, 1, matrix, M, out / 2, in, [&](int m, int n, auto& v) {
        for (size_t r = 0; r < sizeof(v) / sizeof(v[0]); ++r)
          for (size_t p = 0; p < sizeof(v[0]) / sizeof(vf); ++p) {
            const int64_t place = static_cast<int64_t>(m + r) * in + n + p * W;
            if (k == 0)
              store(gradient.data() + place, v[r][p]);
            else
              v[r][p] = load_row(active[k].rows.data() + place) != 0 ? v[r][p] : vf{};
          }
        if (k) next.put(v, in, m, n);
      });
      std::swap(passed, next);
    }
  }
};

} // namespace
} // namespace FS_ISA
} // namespace fs
