// Small fully connected networks in half precision with sums in single precision, forward.
//
// For widths 32-64-64-16 a sample costs 14 kFLOP and moves 192 B: 75 FLOP/B, below what matrix units need to be the
// bound, so memory is. For each warp the weights pass once through L1.
#include "mlp_half.cuh"
#include "scratch.cuh"

namespace fs {
namespace cuda {
namespace {

struct Matrix {
  const float* values;
  int rows, columns; // as stored
  bool transposed;
  FS_BOTH float at(int k, int n) const {
    const int row = transposed ? n : k, column = transposed ? k : n;
    return row < rows && column < columns ? values[row * columns + column] : 0.f;
  }
};

// A thread for what a lane gets of a tile: in sum column g of multiply_add stands column 4 (g / 2) + g % 2 of the
// tile, and 2 more in the second one; its rows are 4 t to 4 t + 3.
__global__ void __launch_bounds__(kThreads)
pack_kernel(const float* __restrict__ weights, const Network net, uint4* __restrict__ packed) {
  const int i = blockIdx.x * kThreads + threadIdx.x, tiles = tiles_before(net, net.layers);
  int tile = i / kWarp;
  if (tile >= 2 * tiles) return;
  const bool transposed = tile >= tiles;
  if (transposed) tile -= tiles;
  int layer = 0;
  while (tile >= tiles_before(net, layer + 1)) ++layer;
  tile -= tiles_before(net, layer);
  const Matrix matrix{weights + net.start[layer], net.width[layer], net.width[layer + 1], transposed};
  const int depth = tiles_of(transposed ? matrix.columns : matrix.rows), g = lane_index() / 4;
  const int k = tile % depth * kTile + lane_index() % 4 * 4, n = tile / depth * kTile + g / 2 * 4 + g % 2;
  packed[i] = make_uint4(pack_halves(matrix.at(k, n), matrix.at(k + 1, n)),
                         pack_halves(matrix.at(k + 2, n), matrix.at(k + 3, n)),
                         pack_halves(matrix.at(k, n + 2), matrix.at(k + 1, n + 2)),
                         pack_halves(matrix.at(k + 2, n + 2), matrix.at(k + 3, n + 2)));
}

template <int W>
__global__ void __launch_bounds__(kThreads)
forward(const float* __restrict__ x, const uint4* __restrict__ packed, const Network net, int64_t N,
        float* __restrict__ y) {
  const int64_t first = warp_index() * kWarpRows<W>;
  if (first >= N) return;
  const int count = static_cast<int>(min(static_cast<int64_t>(kWarpRows<W>), N - first));
  Activations<W> in, out;
  load_rows<W>(x + first * net.width[0], count, net.width[0], 1.f, in);
  for (int k = 0; k < net.layers; ++k) { // one multiply for all layers: its code is long, as all of it is unrolled
    const bool last = k + 1 == net.layers;
    const int width = net.width[k + 1];
    float* rows = y + first * width;
    const bool vector = in_fours(rows, width);
    multiply<W>(in, packed, net.width[k], width, [&](int m, int j, const float* sum) {
      if (!last) return keep(sum, true, out.a[m][j]);
      give_rows(sum, m, j, [&](int row, int column, float4 v) {
        if (row < count) write_four(v, column, width, vector, rows + row * width);
      });
    });
    packed += tiles_of(net.width[k]) * tiles_of(width) * kWarp;
    in = out;
  }
}

} // namespace

int pack_weights(const float* weights, const Network& net, uint4* packed, void* stream) {
  const int64_t parts = 2 * static_cast<int64_t>(tiles_before(net, net.layers)) * kWarp;
  return run(pack_kernel, dim3(blocks_for(parts, kThreads)), kThreads, stream, weights, net, packed);
}

} // namespace cuda

using namespace cuda;

extern "C" int mlp_half_forward(const float* x, const float* weights, const int32_t* widths, int32_t layers, int64_t N,
                                float* y, void* stream) {
  Network net;
  if (!read_network(widths, layers, &net)) return cudaErrorInvalidValue;
  const Scratch packed(packed_floats(net), stream);
  if (packed.error()) return cudaErrorMemoryAllocation;
  uint4* tiles = reinterpret_cast<uint4*>(packed.data());
  if (const int error = pack_weights(weights, net, tiles, stream)) return error;
  return with_width(net, [&](auto width) {
    return run(forward<width()>, dim3(blocks_for(N, kBlockRows<width()>)), kThreads, stream, x, tiles, net, N, y);
  });
}

} // namespace fs
