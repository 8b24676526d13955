// Small fully connected networks in bfloat16, block by block; hidden activations are computed again on the way back.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "../rows_with_gradient.h"
#include "halves.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int kBlock = 128; // samples
constexpr int64_t kShares = 16; // of a sum over samples: the same for any number of threads

} // namespace

void mlp_half_forward(const float* x, const float* weights, const int32_t* widths, int32_t layers, int64_t N, float* y,
                      int32_t threads) {
  const HalfNetwork half(weights, widths, layers);
  const Network& net = half.net;
  const int in = net.width[0], out = net.width[layers], stride = net.stride[layers];
  parallel_chunks(N, 8 * kBlock, threads, [&](int64_t first, int64_t last, int) {
    static thread_local HalfBlock block;
    block.resize(half, kBlock);
    for (int64_t begin = first; begin < last; begin += kBlock) {
      const int64_t rows = std::min<int64_t>(kBlock, last - begin);
      copy_rows(x + begin * in, rows, in, block.input.data(), net.stride[0], kBlock);
      block.forward(half, kBlock);
      for (int64_t i = 0; i < rows; ++i) std::copy_n(block.output.data() + i * stride, out, y + (begin + i) * out);
    }
  });
}

void mlp_half_backward(const float* x, const float* weights, const float* gy, const int32_t* widths, int32_t layers,
                       int64_t N, float* gweights, float* gx, int32_t threads) {
  const HalfNetwork half(weights, widths, layers);
  const Network& net = half.net;
  const int in = net.width[0], out = net.width[layers];
  const std::vector<int64_t> index = nonzero_rows(gy, N, out, threads);
  const int64_t count = static_cast<int64_t>(index.size());
  if (gx && count < N) std::fill(gx, gx + N * in, 0.f);
  const int64_t blocks = (count + kBlock - 1) / kBlock, tasks = std::min(kShares, blocks);
  std::vector<std::vector<float>> sums(tasks, std::vector<float>(net.packed_size));
  parallel_tasks(tasks, threads, [&](int64_t task, int) {
    static thread_local HalfBlock block;
    block.resize(half, kBlock);
    for (int64_t b = blocks * task / tasks; b < blocks * (task + 1) / tasks; ++b) {
      const int64_t begin = b * kBlock, rows = std::min<int64_t>(kBlock, count - begin);
      const int64_t* chosen = index.data() + begin;
      gather_rows(x, chosen, rows, in, block.input.data(), net.stride[0], kBlock);
      block.forward(half, kBlock);
      gather_rows(gy, chosen, rows, out, block.gradient.data(), net.stride[layers], kBlock);
      block.backward(half, kBlock, sums[task].data());
      if (gx)
        for (int64_t i = 0; i < rows; ++i)
          std::copy_n(block.gradient.data() + i * net.stride[0], in, gx + chosen[i] * in);
    }
  });
  net.add_up(sums, gweights);
}

} // namespace FS_ISA
} // namespace fs
