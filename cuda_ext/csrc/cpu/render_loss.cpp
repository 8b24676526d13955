// From features of samples to the loss of pixels and back: density, view-dependent colour, compositing and
// squared error of a group of rays while everything is in one core's cache.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "halves.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kGroup = 32;  // rays
constexpr int64_t kShares = 16; // of the sums over rays: the same for any number of threads

// Without a network, features are the coefficients of each colour [3, D] of the harmonics: what `Step::run` asks of a
// network's weights and of a block of samples.
struct Coefficients {
  struct Shape {
    int layers = 1, stride[2];
    int64_t packed_size = 0;
    void add_up(const std::vector<std::vector<float>>&, float*) const {}
  } net;
  int D;
  Coefficients(int A, int harmonics) : net{1, {padded(A + harmonics), padded(3)}}, D(harmonics) {}
};

struct HarmonicBlock {
  std::vector<float> input, output, gradient; // [M, stride]; gradient: of the output, then of the input
  std::vector<float> next;

  static int rows(int count) { return count; }

  void resize(const Coefficients& shape, int M) {
    const int* stride = shape.net.stride;
    input.resize(static_cast<size_t>(M) * stride[0]), output.resize(static_cast<size_t>(M) * stride[1]);
    gradient.resize(static_cast<size_t>(M) * std::max(stride[0], stride[1])), next.resize(gradient.size());
  }

  void forward(const Coefficients& shape, int M) {
    for (int i = 0; i < M; ++i) {
      const float *row = input.data() + static_cast<int64_t>(i) * shape.net.stride[0], *harmonic = row + 3 * shape.D;
      float* out = output.data() + static_cast<int64_t>(i) * shape.net.stride[1];
      std::fill(out, out + shape.net.stride[1], 0.f);
      for (int c = 0; c < 3; ++c)
        for (int k = 0; k < shape.D; ++k) out[c] += row[c * shape.D + k] * harmonic[k];
    }
  }

  void backward(const Coefficients& shape, int M, float*) {
    for (int i = 0; i < M; ++i) {
      const float* harmonic = input.data() + static_cast<int64_t>(i) * shape.net.stride[0] + 3 * shape.D;
      const float* given = gradient.data() + static_cast<int64_t>(i) * shape.net.stride[1];
      float* to = next.data() + static_cast<int64_t>(i) * shape.net.stride[0];
      for (int c = 0; c < 3; ++c)
        for (int k = 0; k < shape.D; ++k) to[c * shape.D + k] = given[c] * harmonic[k];
    }
    std::swap(gradient, next);
  }
};

// The samples of a group of rays that light reaches, with everything kept for the way back.
struct Group {
  std::vector<int64_t> sample;
  std::vector<float> weight, density, light; // light: of each ray, behind its last sample
  std::vector<float> dense, through;         // of all samples: density, and the light that each lets through
  std::vector<int32_t> first;                // of each ray, [rays + 1]
};

struct Step {
  const float *features, *harmonics, *start, *end, *wanted, *background;
  const int64_t* offsets;
  int32_t A, D;
  int64_t R;
  float max_log, scale, stop;
  float* gfeatures;

  // Density of `count` samples from the first on, and the light that each lets through.
  void absorb(Group& g, int64_t first, int64_t count) const {
    g.dense.resize(padded(static_cast<int>(count))), g.through.resize(g.dense.size());
    for (int64_t i = 0; i < count; i += W) {
      const int64_t lanes = std::min<int64_t>(W, count - i), s = first + i;
      vf raw{}, length{};
      for (int64_t k = 0; k < lanes; ++k) raw[k] = features[(s + k) * (1 + A)], length[k] = end[s + k] - start[s + k];
      const vf highest = splat(max_log), density = splat(scale) * exponential(raw > highest ? highest : raw);
      store(g.dense.data() + i, density);
      store(g.through.data() + i, exponential(-density * length));
    }
  }

  void gather(Group& g, int64_t begin, int64_t last) const {
    const int64_t first = offsets[begin];
    absorb(g, first, offsets[last] - first);
    g.sample.clear(), g.weight.clear(), g.density.clear(), g.light.clear();
    g.first.assign(1, 0);
    for (int64_t r = begin; r < last; ++r) {
      float transmittance = 1;
      for (int64_t s = offsets[r]; s < offsets[r + 1] && transmittance > stop; ++s) {
        const float through = g.through[s - first];
        g.sample.push_back(s), g.density.push_back(g.dense[s - first]), g.weight.push_back(transmittance * (1 - through));
        transmittance *= through;
      }
      g.light.push_back(transmittance);
      g.first.push_back(static_cast<int32_t>(g.sample.size()));
    }
  }

  // What makes colours of the group's samples, in rows of `stride`.
  void ask(const Group& g, int stride, int64_t begin, int64_t last, std::vector<float>& input) const {
    for (int64_t r = begin; r < last; ++r)
      for (int32_t i = g.first[r - begin]; i < g.first[r - begin + 1]; ++i) {
        float* row = input.data() + static_cast<int64_t>(i) * stride;
        copy_row(features + g.sample[i] * (1 + A) + 1, A, row);
        copy_row(harmonics + r * D, D, row + A);
        std::fill(row + A + D, row + stride, 0.f);
      }
    std::fill(input.begin() + static_cast<int64_t>(g.sample.size()) * stride, input.end(), 0.f);
  }

  // Colours of all samples from the network's output, then the error of every pixel; leaves dLoss/d(output) in
  // `gradient` and dLoss/d(log-density) in the first channel of gfeatures. Returns the sum of squared errors.
  double compare(const Group& g, int stride, int64_t begin, int64_t last, std::vector<float>& rgb,
                 std::vector<float>& gradient) const {
    const vf one = splat(1.f);
    for (size_t i = 0; i < g.sample.size(); ++i) {
      float* row = rgb.data() + i * stride; // a vector holds its three colours, and padding
      store(row, one / (one + exponential(-load(row))));
    }
    double total = 0;
    const float factor = 2.f / (3.f * static_cast<float>(R));
    for (int64_t r = begin; r < last; ++r) {
      const int64_t k = r - begin;
      float gc[3], behind = g.light[k], suffix = 0;
      for (int c = 0; c < 3; ++c) {
        float color = behind * background[3 * r + c];
        for (int32_t i = g.first[k]; i < g.first[k + 1]; ++i) color += g.weight[i] * rgb[i * stride + c];
        const float error = color - wanted[3 * r + c];
        total += static_cast<double>(error) * error;
        gc[c] = factor * error;
        suffix += gc[c] * behind * background[3 * r + c];
      }
      for (int32_t i = g.first[k + 1] - 1; i >= g.first[k]; --i) {
        const int64_t s = g.sample[i];
        const float* color = rgb.data() + static_cast<int64_t>(i) * stride;
        float* out = gradient.data() + static_cast<int64_t>(i) * stride;
        std::fill(out, out + stride, 0.f);
        float value = 0;
        for (int c = 0; c < 3; ++c) {
          value += gc[c] * color[c];
          out[c] = gc[c] * g.weight[i] * color[c] * (1 - color[c]);
        }
        float slope = (end[s] - start[s]) * (behind * value - suffix) * g.density[i];
        if (features[s * (1 + A)] >= max_log && slope < 0) slope = 0; // past the clamp only back down
        gfeatures[s * (1 + A)] = slope;
        suffix += g.weight[i] * value;
        behind += g.weight[i];
      }
    }
    return total;
  }

  template <class Block, class Weights>
  double run(Group& g, Block& block, const Weights& weights, float* sum, int64_t begin, int64_t last) const {
    const auto& net = weights.net;
    gather(g, begin, last);
    const int count = static_cast<int>(g.sample.size()), rows = Block::rows(count), out = net.stride[net.layers];
    block.resize(weights, rows);
    ask(g, net.stride[0], begin, last, block.input);
    block.forward(weights, rows);
    const double error = compare(g, out, begin, last, block.output, block.gradient);
    std::fill(block.gradient.begin() + static_cast<int64_t>(count) * out,
              block.gradient.begin() + static_cast<int64_t>(rows) * out, 0.f);
    block.backward(weights, rows, sum);
    for (int i = 0; i < count; ++i)
      copy_row(block.gradient.data() + static_cast<int64_t>(i) * net.stride[0], A,
               gfeatures + g.sample[i] * (1 + A) + 1);
    return error;
  }

  // All rays, a fixed share of the groups for each task; returns the sum of squared errors.
  template <class Block, class Weights> double run_all(const Weights& weights, float* gweights, int threads) const {
    const int64_t groups = (R + kGroup - 1) / kGroup, shares = std::min(kShares, groups);
    std::vector<std::vector<float>> sums(shares, std::vector<float>(weights.net.packed_size));
    std::vector<double> errors(shares);
    parallel_tasks(shares, threads, [&](int64_t share, int) {
      static thread_local Group group;
      static thread_local Block block;
      for (int64_t k = groups * share / shares; k < groups * (share + 1) / shares; ++k)
        errors[share] += run(group, block, weights, sums[share].data(), k * kGroup, std::min(R, (k + 1) * kGroup));
    });
    weights.net.add_up(sums, gweights);
    double total = 0;
    for (const double error : errors) total += error;
    return total;
  }
};

} // namespace

void render_loss(const float* features, const float* harmonics, const float* weights, const int32_t* widths,
                 int32_t layers, const float* start, const float* end, const int64_t* offsets, const float* wanted,
                 const float* background, int64_t R, int64_t S, int32_t A, float max_log, float scale, float stop,
                 int32_t half, double* loss, float* gfeatures, float* gweights, int32_t threads) {
  const int32_t D = layers ? widths[0] - A : A / 3;
  const Step step{features, harmonics, start, end, wanted, background, offsets, A, D, R, max_log, scale, stop, gfeatures};
  parallel_chunks(S * (1 + A), 1 << 16, threads, [&](int64_t begin, int64_t end_, int) {
    std::fill(gfeatures + begin, gfeatures + end_, 0.f);
  });
  const double total = !layers ? step.run_all<HarmonicBlock>(Coefficients(A, D), gweights, threads)
                       : half  ? step.run_all<HalfBlock>(HalfNetwork(weights, widths, layers), gweights, threads)
                               : step.run_all<SingleBlock>(SingleNetwork(weights, widths, layers), gweights, threads);
  *loss = total / (3.0 * static_cast<double>(R));
}

} // namespace FS_ISA
} // namespace fs
