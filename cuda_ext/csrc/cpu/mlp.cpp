// Small fully connected networks, whole block by block: a block's activations never leave L1/L2.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "../simd.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int kBlock = 64; // samples
constexpr int kAccumulators = kRegisters / 2;

int padded(int width) { return (width + W - 1) / W * W; }

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

// Rows of `width` floats into rows of `stride` floats; what is missing is zero.
void copy_rows(const float* from, int64_t rows, int width, float* to, int stride, int64_t rows_total) {
  if (width == stride) {
    std::copy(from, from + rows * width, to);
  } else {
    for (int64_t i = 0; i < rows; ++i) {
      std::copy(from + i * width, from + (i + 1) * width, to + i * stride);
      std::fill(to + i * stride + width, to + (i + 1) * stride, 0.f);
    }
  }
  std::fill(to + rows * stride, to + rows_total * stride, 0.f);
}

// The network's shape, and its weights with columns padded to whole vectors.
struct Network {
  int layers;
  std::vector<int> width, stride;     // of each activation, input first
  std::vector<int64_t> start, packed; // of each weight matrix, as given and padded
  int64_t packed_size = 0;
  int widest = 0;

  Network(const int32_t* widths, int32_t layer_count) : layers(layer_count) {
    int64_t total = 0;
    for (int k = 0; k <= layers; ++k) {
      width.push_back(widths[k]);
      stride.push_back(padded(widths[k]));
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

void mask_by(float* g, const float* h, int64_t count) {
  for (int64_t i = 0; i < count; i += W) store(g + i, load(h + i) > 0 ? load(g + i) : vf{});
}

} // namespace

void mlp_forward(const float* x, const float* weights, const int32_t* widths, int32_t layers, int64_t N,
                 float* y, float* hidden, int32_t threads) {
  const Network net(widths, layers);
  const std::vector<float> packed = net.pack(weights);
  parallel_chunks(N, 16 * kBlock, threads, [&](int64_t first, int64_t last, int) {
    std::vector<float> a(kBlock * net.widest), b(kBlock * net.widest);
    for (int64_t begin = first; begin < last; begin += kBlock) {
      const int64_t rows = std::min<int64_t>(kBlock, last - begin);
      copy_rows(x + begin * net.width[0], rows, net.width[0], a.data(), net.stride[0], kBlock);
      float *in = a.data(), *out = b.data();
      int64_t column = 0;
      for (int k = 0; k < layers; ++k) {
        const float* matrix = packed.data() + net.packed[k];
        const int K = net.width[k], M = static_cast<int>(rows), width = net.width[k + 1], stride = net.stride[k + 1];
        if (k + 1 < layers)
          multiply<Store::kRelu>(in, net.stride[k], 1, matrix, out, M, K, stride);
        else
          multiply<Store::kPlain>(in, net.stride[k], 1, matrix, out, M, K, stride);
        float* target = k + 1 == layers ? y + begin * width : hidden ? hidden + N * column + begin * width : nullptr;
        if (target)
          for (int64_t i = 0; i < rows; ++i) std::copy(out + i * stride, out + i * stride + width, target + i * width);
        column += width;
        std::swap(in, out);
      }
    }
  });
}

void mlp_backward(const float* x, const float* weights, const float* hidden, const float* gy,
                  const int32_t* widths, int32_t layers, int64_t N, float* gweights, float* gx, int32_t threads) {
  const Network net(widths, layers);
  const std::vector<float> transposed = net.pack_transposed(weights);
  // A fixed share of the samples for each task, summed in a fixed order: the same result every run.
  const int64_t blocks = (N + kBlock - 1) / kBlock, tasks = std::max<int64_t>(1, std::min<int64_t>(threads, blocks));
  std::vector<std::vector<float>> sums(tasks, std::vector<float>(net.packed_size));
  parallel_tasks(tasks, threads, [&](int64_t task, int) {
    std::vector<float> a(kBlock * net.widest), g(kBlock * net.widest), h(kBlock * net.widest);
    std::vector<float>& sum = sums[task];
    for (int64_t block = blocks * task / tasks; block < blocks * (task + 1) / tasks; ++block) {
      const int64_t begin = block * kBlock, rows = std::min<int64_t>(kBlock, N - begin);
      copy_rows(gy + begin * net.width[layers], rows, net.width[layers], g.data(), net.stride[layers], kBlock);
      int64_t column = 0;
      for (int k = 1; k < layers; ++k) column += net.width[k];
      for (int k = layers - 1; k >= 0; --k) {
        const int width = net.width[k], stride = net.stride[k], out = net.stride[k + 1];
        column -= k ? width : 0;
        const float* input = k ? hidden + N * column + begin * width : x + begin * width;
        copy_rows(input, rows, width, h.data(), stride, rows);
        multiply<Store::kAdd>(h.data(), 1, stride, g.data(), sum.data() + net.packed[k], width, static_cast<int>(rows), out);
        if (k == 0 && !gx) break;
        multiply<Store::kPlain>(g.data(), out, 1, transposed.data() + net.packed[k], a.data(), kBlock, net.width[k + 1], stride);
        if (k) mask_by(a.data(), h.data(), rows * stride);
        std::swap(a, g);
      }
      if (gx)
        for (int64_t i = 0; i < rows; ++i)
          std::copy(g.data() + i * net.stride[0], g.data() + i * net.stride[0] + net.width[0], gx + (begin + i) * net.width[0]);
    }
  });
  for (int k = 0; k < layers; ++k)
    for (int i = 0; i < net.width[k]; ++i)
      for (int o = 0; o < net.width[k + 1]; ++o) {
        float total = 0;
        for (const std::vector<float>& sum : sums) total += sum[net.packed[k] + static_cast<int64_t>(i) * net.stride[k + 1] + o];
        gweights[net.start[k] + static_cast<int64_t>(i) * net.width[k + 1] + o] = total;
      }
}

} // namespace FS_ISA
} // namespace fs
