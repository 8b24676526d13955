// From features of samples to the loss of pixels and back: density, view-dependent colour, compositing and
// squared error of a group of rays while everything is in one core's cache.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "dense.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kGroup = 32;  // rays
constexpr int64_t kShares = 16; // of the sums over rays: the same for any number of threads

// The samples of a group of rays that light reaches, with everything kept for the way back.
struct Group {
  std::vector<int64_t> sample;
  std::vector<float> weight, density, light; // light: of each ray, behind its last sample
  std::vector<int32_t> first;                // of each ray, [rays + 1]
  std::vector<std::vector<float>> active;    // input of each layer, and the output
  std::vector<float> gradient, other;
};

struct Step {
  const float *features, *harmonics, *start, *end, *wanted, *background;
  const int64_t* offsets;
  int32_t A, D;
  int64_t R;
  float max_log, scale, stop;
  float* gfeatures;

  void gather(Group& g, const Network& net, int64_t begin, int64_t last) const {
    g.sample.clear(), g.weight.clear(), g.density.clear(), g.light.clear();
    g.first.assign(1, 0);
    for (int64_t r = begin; r < last; ++r) {
      float transmittance = 1;
      for (int64_t s = offsets[r]; s < offsets[r + 1] && transmittance > stop; ++s) {
        const float density = scale * std::exp(std::min(features[s * (1 + A)], max_log));
        const float through = std::exp(-density * (end[s] - start[s]));
        g.sample.push_back(s), g.density.push_back(density), g.weight.push_back(transmittance * (1 - through));
        transmittance *= through;
      }
      g.light.push_back(transmittance);
      g.first.push_back(static_cast<int32_t>(g.sample.size()));
    }
    const size_t count = g.sample.size();
    g.active.resize(net.layers + 1);
    for (int k = 0; k <= net.layers; ++k) g.active[k].resize(count * net.stride[k]);
    g.gradient.resize(count * net.widest), g.other.resize(count * net.widest);
    for (int64_t r = begin; r < last; ++r)
      for (int32_t i = g.first[r - begin]; i < g.first[r - begin + 1]; ++i) {
        float* row = g.active[0].data() + static_cast<int64_t>(i) * net.stride[0];
        std::copy_n(features + g.sample[i] * (1 + A) + 1, A, row);
        std::copy_n(harmonics + r * D, D, row + A);
        std::fill(row + A + D, row + net.stride[0], 0.f);
      }
  }

  // Colours of all samples, then the error of every pixel; leaves dLoss/d(network output) in g.gradient
  // and dLoss/d(log-density) in the first channel of gfeatures. Returns the sum of squared errors.
  double compare(Group& g, const Network& net, int64_t begin, int64_t last) const {
    const int stride = net.stride[net.layers];
    std::vector<float>& rgb = g.active[net.layers];
    for (size_t i = 0; i < g.sample.size(); ++i)
      for (int c = 0; c < 3; ++c) rgb[i * stride + c] = 1.f / (1.f + std::exp(-rgb[i * stride + c]));
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
        float* out = g.gradient.data() + static_cast<int64_t>(i) * stride;
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

  double run(Group& g, const Network& net, const float* packed, const float* transposed, float* sum, int64_t begin,
             int64_t last) const {
    gather(g, net, begin, last);
    const int count = static_cast<int>(g.sample.size());
    for (int k = 0; k < net.layers; ++k) {
      const float* matrix = packed + net.packed[k];
      float *in = g.active[k].data(), *out = g.active[k + 1].data();
      if (k + 1 < net.layers)
        multiply<Store::kRelu>(in, net.stride[k], 1, matrix, out, count, net.width[k], net.stride[k + 1]);
      else
        multiply<Store::kPlain>(in, net.stride[k], 1, matrix, out, count, net.width[k], net.stride[k + 1]);
    }
    const double error = compare(g, net, begin, last);
    for (int k = net.layers - 1; k >= 0; --k) {
      const int stride = net.stride[k], out = net.stride[k + 1];
      for (int first = 0; first < count; first += kSlice)
        multiply<Store::kAdd>(g.active[k].data() + first * stride, 1, stride, g.gradient.data() + first * out,
                              sum + net.packed[k], net.width[k], std::min(kSlice, count - first), out);
      multiply<Store::kPlain>(g.gradient.data(), out, 1, transposed + net.packed[k], g.other.data(), count,
                              net.width[k + 1], stride);
      if (k) mask_by(g.other.data(), g.active[k].data(), static_cast<int64_t>(count) * stride);
      std::swap(g.gradient, g.other);
    }
    for (int i = 0; i < count; ++i)
      std::copy_n(g.gradient.data() + static_cast<int64_t>(i) * net.stride[0], A, gfeatures + g.sample[i] * (1 + A) + 1);
    return error;
  }

  static constexpr int kSlice = 64; // samples of one weight-gradient product: both operands stay in L1
};

} // namespace

void render_loss(const float* features, const float* harmonics, const float* weights, const int32_t* widths,
                 int32_t layers, const float* start, const float* end, const int64_t* offsets, const float* wanted,
                 const float* background, int64_t R, int64_t S, int32_t A, float max_log, float scale, float stop,
                 double* loss, float* gfeatures, float* gweights, int32_t threads) {
  const Network net(widths, layers);
  const std::vector<float> packed = net.pack(weights), transposed = net.pack_transposed(weights);
  const Step step{features, harmonics, start, end, wanted, background, offsets, A, widths[0] - A, R,
                  max_log, scale, stop, gfeatures};
  parallel_chunks(S * (1 + A), 1 << 16, threads, [&](int64_t begin, int64_t end_, int) {
    std::fill(gfeatures + begin, gfeatures + end_, 0.f);
  });
  const int64_t groups = (R + kGroup - 1) / kGroup, shares = std::min(kShares, groups);
  std::vector<std::vector<float>> sums(shares, std::vector<float>(net.packed_size));
  std::vector<double> errors(shares);
  parallel_tasks(shares, threads, [&](int64_t share, int) {
    static thread_local Group group;
    for (int64_t k = groups * share / shares; k < groups * (share + 1) / shares; ++k)
      errors[share] += step.run(group, net, packed.data(), transposed.data(), sums[share].data(), k * kGroup,
                                std::min(R, (k + 1) * kGroup));
  });
  *loss = 0;
  for (const double error : errors) *loss += error / (3.0 * static_cast<double>(R));
  net.add_up(sums, gweights);
}

} // namespace FS_ISA
} // namespace fs
