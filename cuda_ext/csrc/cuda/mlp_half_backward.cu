// Gradients of small fully connected networks on the matrix units.
//
// Halves end at 6e-8, and gradients of a mean over many samples are smaller: `find_largest` finds the largest of gy, a
// power of two brings it to 16, and is taken out of the single-precision results again. Samples go in chunks:
//   1. data_gradient: the forward pass again from x (cheaper than every activation out to memory and back), then the
//      gradients of all layers, in registers; inputs and gradients of the layers go to L2 in halves;
//   2. weight_gradient: tiles of input^T gradient, each block over its own kSplit samples;
//   3. add_up: the blocks' partial sums, always in the same order.
// No atomics but a maximum: the result is the same in every run. For widths 32-64-64-16 a sample costs 57 kFLOP and
// moves 384 B to and from memory, and 608 B of L2 each way.
#include "mlp_half.cuh"
#include "scratch.cuh"

namespace fs {
namespace cuda {
namespace {

constexpr int64_t kChunk = 1 << 16;  // samples
constexpr int kSplit = 512;          // samples of one partial sum
constexpr int kSide = 64;            // of a tile of the weight gradient
constexpr int kStage = 64;           // samples in shared memory at a time
constexpr int kStageRow = kSide + 8; // halves: rows start in different banks
constexpr int kLargestExponent = 4;  // of scaled gradients
constexpr unsigned kMaximumBlocks = 512;

struct Scale {
  unsigned largest; // bits of the largest |gy|; NaN above all
  float inverse;    // what takes the scale out again
};

// Bits of positive floats are ordered as they are.
__global__ void __launch_bounds__(kThreads) find_largest(const float* __restrict__ gy, int64_t count, Scale* scale) {
  unsigned found = 0;
  for (int64_t i = thread_index(); i < count; i += static_cast<int64_t>(gridDim.x) * kThreads)
    found = max(found, __float_as_uint(fabsf(gy[i])));
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) found = max(found, __shfl_xor_sync(kAllLanes, found, step));
  if (lane_index() == 0) atomicMax(&scale->largest, found);
}

// 2^(kLargestExponent - exponent of the largest); its inverse is exact too. One thread.
__global__ void __launch_bounds__(kThreads) invert(Scale* scale) {
  if (threadIdx.x != 0) return;
  const int exponent = static_cast<int>(scale->largest >> 23); // biased; 0: zero or subnormal, 255: not finite
  const bool usable = exponent > 0 && exponent < 255;
  const int biased = usable ? min(max(exponent - kLargestExponent, 1), 253) : 127;
  scale->inverse = __uint_as_float(static_cast<unsigned>(biased) << 23);
}

// Where the halves of a chunk's samples lie: matrix after matrix [count, padded width].
struct Halves {
  uint16_t *inputs, *gradients;
  int count;
  FS_BOTH uint16_t* input(const Network& net, int k) const {
    return inputs + static_cast<int64_t>(count) * columns_before(net, k);
  }
  // Of the output of layer k.
  FS_BOTH uint16_t* gradient(const Network& net, int k) const {
    return gradients + static_cast<int64_t>(count) * (columns_before(net, k + 1) - padded(net.width[0]));
  }
};

// body(row, register pair {first, second} of that row, column) for all that a lane holds of `rows` rows.
template <int W, class Body>
__device__ __forceinline__ void for_each_pair(Activations<W>& values, int rows, int width, const Body& body) {
  const Lane lane;
#pragma unroll
  for (int m = 0; m < kRowTiles<W>; ++m)
#pragma unroll
    for (int k = 0; k < W / kTile; ++k)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = m * kTile + lane.row + 8 * half;
        if (row < rows && k * kTile < width)
          body(row, k * kTile + lane.column, values.a[m][k][half], values.a[m][k][2 + half]);
      }
}

template <int W>
__device__ __forceinline__ void store_halves(Activations<W>& values, int rows, int width, uint16_t* to) {
  for_each_pair<W>(values, rows, width, [&](int row, int column, uint32_t& a, uint32_t& b) {
    *reinterpret_cast<uint2*>(to + row * padded(width) + column) = make_uint2(a, b);
  });
}

// Keeps the halves of g where those of h, which are rectified, are not zero.
__device__ __forceinline__ uint32_t where_not_zero(uint32_t h, uint32_t g) {
  return g & ((h & 0xffffu ? 0xffffu : 0u) | (h >> 16 ? 0xffff0000u : 0u));
}

// A lane reads what it wrote itself: no barrier is needed.
template <int W>
__device__ __forceinline__ void rectify(Activations<W>& gradient, int rows, int width, const uint16_t* hidden) {
  for_each_pair<W>(gradient, rows, width, [&](int row, int column, uint32_t& a, uint32_t& b) {
    const uint2 h = *reinterpret_cast<const uint2*>(hidden + row * padded(width) + column);
    a = where_not_zero(h.x, a), b = where_not_zero(h.y, b);
  });
}

// Samples [begin, begin + halves.count) of all: the inputs of all layers and the gradients of their outputs, times
// 1 / scale->inverse, to `halves`, and the gradient of the network's input to gx (nullable).
template <int W>
__global__ void __launch_bounds__(kThreads)
data_gradient(const float* __restrict__ x, const uint4* __restrict__ packed, const float* __restrict__ gy,
              const Network net, int64_t begin, const Halves halves, const Scale* __restrict__ scale,
              float* __restrict__ gx) {
  const int row = static_cast<int>(warp_index()) * kWarpRows<W>, rows = min(kWarpRows<W>, halves.count - row);
  if (rows <= 0) return;
  const int64_t first = begin + row;
  const auto part = [&](uint16_t* matrix, int width) { return matrix + static_cast<int64_t>(row) * padded(width); };
  const float inverse = scale->inverse;
  const int last = net.width[net.layers], there = net.layers - 1, steps = there + (gx ? net.layers : net.layers - 1);
  Activations<W> in, out;
  load_rows<W>(x + first * net.width[0], rows, net.width[0], 1.f, in);
  store_halves<W>(in, rows, net.width[0], part(halves.input(net, 0), net.width[0]));
  for (int s = 0;; ++s) { // there and back with one multiply: its code is long, as all of it is unrolled
    if (s == there) {
      load_rows<W>(gy + first * last, rows, last, 1.f / inverse, in);
      store_halves<W>(in, rows, last, part(halves.gradient(net, there), last));
    }
    if (s == steps) return;
    const bool forward = s < there, to_x = s == 2 * there;
    const int k = forward ? s : 2 * there - s, K = net.width[forward ? k : k + 1], M = net.width[forward ? k + 1 : k];
    const int tiles = tiles_before(net, k) + (forward ? 0 : tiles_before(net, net.layers));
    float* target = gx + first * M;
    const bool vector = in_fours(target, M);
    multiply<W>(in, packed + tiles * kWarp, K, M, [&](int m, int j, const float* sum) {
      if (!to_x) return keep(sum, forward, out.a[m][j]);
      give_rows(sum, m, j, [&](int r, int column, float4 v) {
        const float4 g = make_float4(v.x * inverse, v.y * inverse, v.z * inverse, v.w * inverse);
        if (r < rows) write_four(g, column, M, vector, target + r * M);
      });
    });
    if (to_x) return;
    in = out;
    if (!forward) rectify<W>(in, rows, M, part(halves.input(net, k), M));
    store_halves<W>(in, rows, M, part(forward ? halves.input(net, k + 1) : halves.gradient(net, k - 1), M));
  }
}

// One tile of the weights: inputs [i, i + kSide) against outputs [o, o + kSide) of layer k.
struct WeightTile {
  int k, i, o;
};

FS_BOTH int sides_of(int width) { return (width + kSide - 1) / kSide; }

FS_BOTH WeightTile weight_tile(const Network& net, int index) {
  for (int k = 0; k < net.layers; ++k) {
    const int across = sides_of(net.width[k + 1]), tiles = across * sides_of(net.width[k]);
    if (index < tiles) return {k, index / across * kSide, index % across * kSide};
    index -= tiles;
  }
  return {net.layers, 0, 0};
}

// Rows [0, kStage) and columns [column, column + kSide) of rows[count, width] in registers, zero outside.
struct Window {
  static constexpr int kParts = kStage * kSide / 8 / kThreads;
  uint4 part[kParts];
  static __device__ __forceinline__ int row(int p) { return (p * kThreads + threadIdx.x) / (kSide / 8); }
  static __device__ __forceinline__ int column() { return threadIdx.x % (kSide / 8) * 8; }
  __device__ __forceinline__ void read(const uint16_t* rows, int count, int width, int from) {
    const int c = from + column();
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      part[p] = make_uint4(0, 0, 0, 0);
      if (row(p) < count && c < width)
        part[p] = *reinterpret_cast<const uint4*>(rows + static_cast<int64_t>(row(p)) * width + c);
    }
  }
  __device__ __forceinline__ void put(uint16_t* shared) const {
#pragma unroll
    for (int p = 0; p < kParts; ++p) *reinterpret_cast<uint4*>(shared + row(p) * kStageRow + column()) = part[p];
  }
};

constexpr int kWarpSide = kSide / 2; // a warp owns a quarter of the tile

// sum[2][4][4] += a quarter of inputs^T gradients over the staged samples.
__device__ __forceinline__ void multiply_stage(const uint16_t* inputs, const uint16_t* gradients, float sum[2][4][4]) {
  const int lane = lane_index(), matrix = lane / 8;
  // Samples run along the sums: of a (b) matrices 2 and 3 (1 and 3) are the later samples.
  const uint16_t* a_row = inputs + (matrix / 2 * 8 + lane % 8) * kStageRow + matrix % 2 * 8;
  const uint16_t* b_row = gradients + (matrix % 2 * 8 + lane % 8) * kStageRow + matrix / 2 * 8;
#pragma unroll
  for (int s = 0; s < kStage; s += kTile) {
    uint32_t a[2][4], b[2][4];
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      load_transposed(a_row + s * kStageRow + p * kTile, a[p]);
      load_transposed(b_row + s * kStageRow + p * kTile, b[p]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int o = 0; o < 4; ++o) multiply_add(sum[i][o], a[i], b[o / 2][o % 2 * 2], b[o / 2][o % 2 * 2 + 1]);
  }
}

// partial[blockIdx.x] of the tile blockIdx.y.
__global__ void __launch_bounds__(kThreads)
weight_gradient(const Network net, const Halves halves, int total, float* __restrict__ partial) {
  alignas(16) __shared__ uint16_t inputs[kStage * kStageRow];
  alignas(16) __shared__ uint16_t gradients[kStage * kStageRow];
  const WeightTile tile = weight_tile(net, blockIdx.y);
  const int K = net.width[tile.k], M = net.width[tile.k + 1], first = blockIdx.x * kSplit;
  const int count = min(kSplit, halves.count - first), warp = threadIdx.x / kWarp;
  const int i = warp / 2 * kWarpSide, o = warp % 2 * kWarpSide;
  const uint16_t* input = halves.input(net, tile.k) + static_cast<int64_t>(first) * padded(K);
  const uint16_t* gradient = halves.gradient(net, tile.k) + static_cast<int64_t>(first) * padded(M);
  float sum[2][4][4] = {};
  Window next_inputs, next_gradients; // are on their way while the ones before are multiplied
  for (int s = 0; s < count + kStage; s += kStage) {
    if (s > 0) {
      __syncthreads();
      next_inputs.put(inputs), next_gradients.put(gradients);
      __syncthreads();
    }
    next_inputs.read(input + static_cast<int64_t>(s) * padded(K), count - s, padded(K), tile.i);
    next_gradients.read(gradient + static_cast<int64_t>(s) * padded(M), count - s, padded(M), tile.o);
    if (s > 0) multiply_stage(inputs + i, gradients + o, sum);
  }
  float* target = partial + static_cast<int64_t>(blockIdx.x) * total + net.start[tile.k];
  const int row = tile.i + i + lane_index() / 4, column = tile.o + o + lane_index() % 4 * 2;
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int q = 0; q < 4; ++q)
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        const int r = row + p * kTile + v / 2 * 8, c = column + q * 8 + v % 2;
        if (r < K && c < M) target[r * M + c] = sum[p][q][v];
      }
}

int count_tiles(const Network& net) {
  int tiles = 0;
  for (int k = 0; k < net.layers; ++k) tiles += sides_of(net.width[k]) * sides_of(net.width[k + 1]);
  return tiles;
}

int find_scale(const float* gy, int64_t count, Scale* scale, void* stream) {
  if (const int error = cudaMemsetAsync(scale, 0, sizeof(Scale), static_cast<cudaStream_t>(stream))) return error;
  const unsigned blocks = blocks_for(count, kThreads);
  if (const int error = run(find_largest, dim3(blocks < kMaximumBlocks ? blocks : kMaximumBlocks), kThreads, stream, gy,
                            count, scale))
    return error;
  return run(invert, dim3(1), kThreads, stream, scale);
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int mlp_half_backward(const float* x, const float* weights, const float* gy, const int32_t* widths,
                                 int32_t layers, int64_t N, float* gweights, float* gx, void* stream) {
  Network net;
  if (!read_network(widths, layers, &net)) return cudaErrorInvalidValue;
  const int total = weight_count(net), tiles = count_tiles(net);
  if (N == 0) return cudaMemsetAsync(gweights, 0, total * sizeof(float), static_cast<cudaStream_t>(stream));
  const int64_t chunk = N < kChunk ? N : kChunk, columns = columns_before(net, layers);
  const int64_t gradient_columns = columns_before(net, layers + 1) - padded(net.width[0]);
  const Scratch packed(packed_floats(net), stream), scales(sizeof(Scale) / sizeof(float), stream);
  const Scratch halves(chunk * (columns + gradient_columns) / 2, stream);
  const Scratch partial(static_cast<size_t>(blocks_for(chunk, kSplit)) * total, stream);
  if (packed.error() || scales.error() || halves.error() || partial.error()) return cudaErrorMemoryAllocation;
  uint4* weight_tiles = reinterpret_cast<uint4*>(packed.data());
  Scale* scale = reinterpret_cast<Scale*>(scales.data());
  if (const int error = pack_weights(weights, net, weight_tiles, stream)) return error;
  if (const int error = find_scale(gy, N * net.width[layers], scale, stream)) return error;
  for (int64_t begin = 0; begin < N; begin += kChunk) {
    const int count = static_cast<int>(N - begin < kChunk ? N - begin : kChunk);
    uint16_t* inputs = reinterpret_cast<uint16_t*>(halves.data());
    const Halves part{inputs, inputs + count * columns, count};
    const unsigned splits = blocks_for(count, kSplit);
    if (const int error = with_width(net, [&](auto width) {
          return run(data_gradient<width()>, dim3(blocks_for(count, kBlockRows<width()>)), kThreads, stream, x,
                     weight_tiles, gy, net, begin, part, scale, gx);
        }))
      return error;
    if (const int error = run(weight_gradient, dim3(splits, tiles), kThreads, stream, net, part, total, partial.data()))
      return error;
    if (const int error = add_up(partial.data(), splits, total, begin == 0, &scale->inverse, gweights, stream))
      return error;
  }
  return cudaSuccess;
}

} // namespace fs
