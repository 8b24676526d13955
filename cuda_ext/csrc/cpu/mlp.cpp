// Small fully connected networks, whole block by block: a block's activations never leave L1/L2.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "../rows_with_gradient.h"
#include "dense.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int kBlock = 64; // samples
constexpr int64_t kShares = 16; // of a sum over samples: the same for any number of threads

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
  const std::vector<int64_t> index = nonzero_rows(gy, N, net.width[layers], threads);
  const int64_t count = static_cast<int64_t>(index.size());
  if (gx && count < N) std::fill(gx, gx + N * net.width[0], 0.f);
  const int64_t blocks = (count + kBlock - 1) / kBlock, tasks = std::min(kShares, blocks);
  std::vector<std::vector<float>> sums(tasks, std::vector<float>(net.packed_size));
  parallel_tasks(tasks, threads, [&](int64_t task, int) {
    std::vector<float> a(kBlock * net.widest), g(kBlock * net.widest), h(kBlock * net.widest);
    std::vector<float>& sum = sums[task];
    for (int64_t block = blocks * task / tasks; block < blocks * (task + 1) / tasks; ++block) {
      const int64_t begin = block * kBlock, rows = std::min<int64_t>(kBlock, count - begin);
      const int64_t* chosen = index.data() + begin;
      gather_rows(gy, chosen, rows, net.width[layers], g.data(), net.stride[layers], kBlock);
      int64_t column = 0;
      for (int k = 1; k < layers; ++k) column += net.width[k];
      for (int k = layers - 1; k >= 0; --k) {
        const int width = net.width[k], stride = net.stride[k], out = net.stride[k + 1];
        column -= k ? width : 0;
        gather_rows(k ? hidden + N * column : x, chosen, rows, width, h.data(), stride, rows);
        multiply<Store::kAdd>(h.data(), 1, stride, g.data(), sum.data() + net.packed[k], width, static_cast<int>(rows), out);
        if (k == 0 && !gx) break;
        multiply<Store::kPlain>(g.data(), out, 1, transposed.data() + net.packed[k], a.data(), kBlock, net.width[k + 1], stride);
        if (k) mask_by(a.data(), h.data(), rows * stride);
        std::swap(a, g);
      }
      if (gx)
        for (int64_t i = 0; i < rows; ++i)
          std::copy(g.data() + i * net.stride[0], g.data() + i * net.stride[0] + net.width[0], gx + chosen[i] * net.width[0]);
    }
  });
  net.add_up(sums, gweights);
}

} // namespace FS_ISA
} // namespace fs
