// Small fully connected networks in single precision or bfloat16, whole block by block: a block's activations never
// leave L1/L2. The way back computes hidden activations again, which is cheaper than to keep them in memory.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "../rows_with_gradient.h"
#include "halves.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kShares = 16; // of a sum over samples: the same for any number of threads

template <class Block, class Weights>
void forward(const Weights& weights, const float* x, int64_t N, float* y, int threads) {
  const Network& net = weights.net;
  const int in = net.width.front(), out = net.width.back();
  parallel_chunks(N, 8 * kBlock, threads, [&](int64_t first, int64_t last, int) {
    static thread_local Block block;
    block.resize(weights, kBlock);
    for (int64_t begin = first; begin < last; begin += kBlock) {
      const int64_t rows = std::min<int64_t>(kBlock, last - begin);
      copy_rows(x + begin * in, rows, in, block.input.data(), net.stride.front(), kBlock);
      block.forward(weights, kBlock);
      unpad_rows(block.output.data(), rows, net.stride.back(), y + begin * out, out);
    }
  });
}

template <class Block, class Weights>
void backward(const Weights& weights, const float* x, const float* gy, int64_t N, float* gweights, float* gx,
              int threads) {
  const Network& net = weights.net;
  const int in = net.width.front(), out = net.width.back();
  // A fixed share of the samples for each task, summed in a fixed order: the same result every run.
  const std::vector<int64_t> index = nonzero_rows(gy, N, out, threads);
  const int64_t count = static_cast<int64_t>(index.size());
  if (gx && count < N) std::fill(gx, gx + N * in, 0.f);
  const int64_t blocks = (count + kBlock - 1) / kBlock, tasks = std::min(kShares, blocks);
  std::vector<std::vector<float>> sums(tasks, std::vector<float>(net.packed_size));
  parallel_tasks(tasks, threads, [&](int64_t task, int) {
    static thread_local Block block;
    block.resize(weights, kBlock);
    for (int64_t b = blocks * task / tasks; b < blocks * (task + 1) / tasks; ++b) {
      const int64_t begin = b * kBlock, rows = std::min<int64_t>(kBlock, count - begin);
      const int64_t* chosen = index.data() + begin;
      gather_rows(x, chosen, rows, in, block.input.data(), net.stride.front(), kBlock);
      block.forward(weights, kBlock);
      gather_rows(gy, chosen, rows, out, block.gradient.data(), net.stride.back(), kBlock);
      block.backward(weights, kBlock, sums[task].data());
      if (gx) scatter_rows(block.gradient.data(), chosen, rows, net.stride.front(), gx, in);
    }
  });
  net.add_up(sums, gweights);
}

} // namespace

void mlp_forward(const float* x, const float* weights, const int32_t* widths, int32_t layers, int64_t N, float* y,
                 float*, int32_t threads) {
  forward<SingleBlock>(SingleNetwork(weights, widths, layers, false), x, N, y, threads);
}

void mlp_backward(const float* x, const float* weights, const float*, const float* gy, const int32_t* widths,
                  int32_t layers, int64_t N, float* gweights, float* gx, int32_t threads) {
  backward<SingleBlock>(SingleNetwork(weights, widths, layers), x, gy, N, gweights, gx, threads);
}

void mlp_half_forward(const float* x, const float* weights, const int32_t* widths, int32_t layers, int64_t N, float* y,
                      int32_t threads) {
  forward<HalfBlock>(HalfNetwork(weights, widths, layers, false), x, N, y, threads);
}

void mlp_half_backward(const float* x, const float* weights, const float* gy, const int32_t* widths, int32_t layers,
                       int64_t N, float* gweights, float* gx, int32_t threads) {
  backward<HalfBlock>(HalfNetwork(weights, widths, layers), x, gy, N, gweights, gx, threads);
}

} // namespace FS_ISA
} // namespace fs
