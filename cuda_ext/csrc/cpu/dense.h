// Dense layers on a block of samples: register-tiled matrix products and padded weights.
#pragma once
#include <algorithm>
#include <vector>

#include "../simd.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int kAccumulators = kRegisters / 2;
constexpr int kBlock = 128; // samples that pass a network together

inline int padded(int width, int unit = W) { return (width + unit - 1) / unit * unit; }

enum class Store { kPlain, kRelu, kAdd };

// C[M, P vectors] (=, relu=, +=) A[M, K] B[K, P vectors], R rows at a time in registers.
// A is read as A[row * row_step + k * k_step].
template <int P, int R, Store mode>
inline void tile(const float* a, int64_t row_step, int64_t k_step, const float* b, int ldb, float* c, int ldc, int K) {
  vf sum[R][P];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) sum[r][p] = mode == Store::kAdd ? load(c + r * ldc + p * W) : vf{};
  for (int k = 0; k < K; ++k) {
    vf row[P];
    for (int p = 0; p < P; ++p) row[p] = load(b + k * ldb + p * W);
    for (int r = 0; r < R; ++r) {
      const vf x = splat(a[r * row_step + k * k_step]);
      for (int p = 0; p < P; ++p) sum[r][p] += x * row[p];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) store(c + r * ldc + p * W, mode == Store::kRelu ? relu(sum[r][p]) : sum[r][p]);
}

template <int P, Store mode>
void panel(const float* a, int64_t row_step, int64_t k_step, const float* b, int ldb, float* c, int ldc, int M, int K) {
  constexpr int R = kAccumulators / P;
  int m = 0;
  for (; m + R <= M; m += R) tile<P, R, mode>(a + m * row_step, row_step, k_step, b, ldb, c + m * ldc, ldc, K);
  for (; m < M; ++m) tile<P, 1, mode>(a + m * row_step, row_step, k_step, b, ldb, c + m * ldc, ldc, K);
}

// N (a multiple of W) columns in panels of four, two or one vectors.
template <Store mode>
void multiply(const float* a, int64_t row_step, int64_t k_step, const float* b, float* c, int M, int K, int N) {
  int n = 0;
  for (; n + 4 * W <= N; n += 4 * W) panel<4, mode>(a, row_step, k_step, b + n, N, c + n, N, M, K);
  for (; n + 2 * W <= N; n += 2 * W) panel<2, mode>(a, row_step, k_step, b + n, N, c + n, N, M, K);
  for (; n < N; n += W) panel<1, mode>(a, row_step, k_step, b + n, N, c + n, N, M, K);
}

// A few floats, by whole vectors where there are so many: a call of memcpy costs more than such a row.
inline void copy_row(const float* from, int width, float* to) {
  int j = 0;
  for (; j + W <= width; j += W) store(to + j, load(from + j));
  for (; j < width; ++j) to[j] = from[j];
}

// Rows of `width` floats into rows of `stride` floats; what is missing is zero.
inline void copy_rows(const float* from, int64_t rows, int width, float* to, int stride, int64_t rows_total) {
  if (width == stride) {
    std::copy(from, from + rows * width, to);
  } else {
    for (int64_t i = 0; i < rows; ++i) {
      copy_row(from + i * width, width, to + i * stride);
      std::fill(to + i * stride + width, to + (i + 1) * stride, 0.f);
    }
  }
  std::fill(to + rows * stride, to + rows_total * stride, 0.f);
}

// The same for chosen rows.
inline void gather_rows(const float* from, const int64_t* index, int64_t rows, int width, float* to, int stride,
                 int64_t rows_total) {
  for (int64_t i = 0; i < rows; ++i) {
    copy_row(from + index[i] * width, width, to + i * stride);
    if (width < stride) std::fill(to + i * stride + width, to + (i + 1) * stride, 0.f);
  }
  std::fill(to + rows * stride, to + rows_total * stride, 0.f);
}

// The way back: rows of `stride` floats to rows of their first `width`.
inline void unpad_rows(const float* from, int64_t rows, int stride, float* to, int width) {
  if (width == stride)
    std::copy(from, from + rows * width, to);
  else
    for (int64_t i = 0; i < rows; ++i) copy_row(from + i * stride, width, to + i * width);
}

inline void scatter_rows(const float* from, const int64_t* index, int64_t rows, int stride, float* to, int width) {
  for (int64_t i = 0; i < rows; ++i) copy_row(from + i * stride, width, to + index[i] * width);
}

// The network's shape, and its weights with rows and columns padded to whole vectors, or to another unit.
struct Network {
  int layers;
  std::vector<int> width, stride;     // of each activation, input first
  std::vector<int64_t> start, packed; // of each weight matrix, as given and padded
  int64_t packed_size = 0;
  int widest = 0;

  Network(const int32_t* widths, int32_t layer_count, int unit = W) : layers(layer_count) {
    int64_t total = 0;
    for (int k = 0; k <= layers; ++k) {
      width.push_back(widths[k]);
      stride.push_back(padded(widths[k], unit));
      widest = std::max(widest, stride[k]);
    }
    for (int k = 0; k < layers; ++k) {
      start.push_back(total);
      packed.push_back(packed_size);
      total += static_cast<int64_t>(width[k]) * width[k + 1];
      packed_size += static_cast<int64_t>(stride[k]) * stride[k + 1];
    }
  }

  // [stride[k], stride[k+1]], zero beyond the given matrix.
  std::vector<float> pack(const float* weights) const {
    std::vector<float> out(packed_size);
    for (int k = 0; k < layers; ++k)
      copy_rows(weights + start[k], width[k], width[k + 1], out.data() + packed[k], stride[k + 1], stride[k]);
    return out;
  }

  // Sum of padded gradients, in the layout of the weights as given.
  void add_up(const std::vector<std::vector<float>>& sums, float* gweights) const {
    for (int k = 0; k < layers; ++k)
      for (int i = 0; i < width[k]; ++i) {
        float* to = gweights + start[k] + static_cast<int64_t>(i) * width[k + 1];
        std::fill(to, to + width[k + 1], 0.f);
        for (const std::vector<float>& sum : sums) {
          const float* from = sum.data() + packed[k] + static_cast<int64_t>(i) * stride[k + 1];
          for (int o = 0; o < width[k + 1]; ++o) to[o] += from[o];
        }
      }
  }

  // [stride[k+1], stride[k]]
  std::vector<float> pack_transposed(const float* weights) const {
    std::vector<float> out(packed_size);
    for (int k = 0; k < layers; ++k)
      for (int i = 0; i < width[k]; ++i)
        for (int o = 0; o < width[k + 1]; ++o)
          out[packed[k] + static_cast<int64_t>(o) * stride[k] + i] = weights[start[k] + static_cast<int64_t>(i) * width[k + 1] + o];
    return out;
  }
};

inline void mask_by(float* g, const float* h, int64_t count) {
  for (int64_t i = 0; i < count; i += W) store(g + i, load(h + i) > 0 ? load(g + i) : vf{});
}

// A network with its weights as they are read on the way forward and, if it is wanted, back.
struct SingleNetwork {
  Network net;
  std::vector<float> weights, transposed;

  SingleNetwork(const float* given, const int32_t* widths, int32_t layers, bool back = true)
      : net(widths, layers), weights(net.pack(given)) {
    if (back) transposed = net.pack_transposed(given);
  }
};

// What a block of samples leaves in a network on its way forward, for the way back.
struct SingleBlock {
  std::vector<float> input, output, gradient; // [M, stride]; gradient: of the output, then of the input
  std::vector<std::vector<float>> hidden;
  std::vector<float> next;

  static constexpr int kSlice = 64; // samples of one weight-gradient product: both operands stay in L1

  static int rows(int count) { return count; }

  void resize(const SingleNetwork& single, int M) {
    const Network& net = single.net;
    hidden.resize(net.layers);
    for (int k = 1; k < net.layers; ++k) hidden[k].resize(static_cast<size_t>(M) * net.stride[k]);
    input.resize(static_cast<size_t>(M) * net.stride[0]);
    output.resize(static_cast<size_t>(M) * net.stride[net.layers]);
    gradient.resize(static_cast<size_t>(M) * net.widest), next.resize(gradient.size());
  }

  const float* active(int k) const { return k ? hidden[k].data() : input.data(); }

  void forward(const SingleNetwork& single, int M) {
    const Network& net = single.net;
    for (int k = 0; k < net.layers; ++k) {
      const float* matrix = single.weights.data() + net.packed[k];
      if (k + 1 < net.layers)
        multiply<Store::kRelu>(active(k), net.stride[k], 1, matrix, hidden[k + 1].data(), M, net.width[k],
                               net.stride[k + 1]);
      else
        multiply<Store::kPlain>(active(k), net.stride[k], 1, matrix, output.data(), M, net.width[k], net.stride[k + 1]);
    }
  }

  // `gradient` of the output becomes that of the input; the weights' is added to sum, laid out like them.
  void backward(const SingleNetwork& single, int M, float* sum) {
    const Network& net = single.net;
    for (int k = net.layers - 1; k >= 0; --k) {
      const int stride = net.stride[k], out = net.stride[k + 1];
      for (int first = 0; first < M; first += kSlice)
        multiply<Store::kAdd>(active(k) + first * stride, 1, stride, gradient.data() + first * out,
                              sum + net.packed[k], net.width[k], std::min(kSlice, M - first), out);
      multiply<Store::kPlain>(gradient.data(), out, 1, single.transposed.data() + net.packed[k], next.data(), M,
                              net.width[k + 1], stride);
      if (k) mask_by(next.data(), active(k), static_cast<int64_t>(M) * stride);
      std::swap(gradient, next);
    }
  }
};

} // namespace
} // namespace FS_ISA
} // namespace fs
