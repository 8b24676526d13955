// Small fully connected networks, forward: all layers of a block of samples in one kernel.
//
// For widths 32-64-64-16 a sample costs 14 kFLOP and moves 192 B (704 B when the hidden activations are kept for
// the backward pass). In FP32 the arithmetic is the bound from about 20 FLOP/B on, which is why the same
// network in half precision on tensor cores is several times faster: this kernel keeps FP32 so that it agrees
// with the reference to 1e-4 and so that second derivatives of distance fields stay usable. Weights come
// from L2 once for each block of samples.
#include "mlp_tile.cuh"

namespace fs {
namespace cuda {
namespace {

template <int W>
__global__ void __launch_bounds__(kThreads)
forward(const float* __restrict__ x, const float* __restrict__ weights, const Network net, int64_t N,
        float* __restrict__ y, float* __restrict__ hidden) {
  using T = Tile<W>;
  alignas(16) __shared__ float activations[T::kActivations];
  alignas(16) __shared__ float panel[T::kPanel];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * T::kSamples;
  const int count = static_cast<int>(min(static_cast<int64_t>(T::kSamples), N - first));
  T tile;
  load_rows<W>(x + first * net.width[0], count, net.width[0], activations);
  for (int k = 0; k < net.layers; ++k) {
    const bool last = k + 1 == net.layers;
    const int width = net.width[k + 1];
    multiply<W, false>(activations, weights + net.start[k], net.width[k], width, panel, tile);
    put(tile, !last, activations);
    if (last)
      store_rows<W>(activations, count, width, y + first * width);
    else if (hidden)
      store_rows<W>(activations, count, width, hidden + N * hidden_before(net, k + 1) + first * width);
  }
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int mlp_forward(const float* x, const float* weights, const int32_t* widths, int32_t layers, int64_t N,
                           float* y, float* hidden, void* stream) {
  Network net;
  if (!read_network(widths, layers, &net)) return cudaErrorInvalidValue;
  return with_width(net, [&](auto width) {
    return run(forward<width()>, dim3(blocks_for(N, Tile<width()>::kSamples)), kThreads, stream, x, weights, net, N, y,
               hidden);
  });
}

} // namespace fs
