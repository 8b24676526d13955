// The shape of a small fully connected network, as kernels get it.
#pragma once
#include <type_traits>

#include "common.cuh"

namespace fs {
namespace cuda {

constexpr int kMaxLayers = 32;

struct Network {
  int layers;
  int width[kMaxLayers + 1]; // input first
  int start[kMaxLayers];     // of each matrix [width[k], width[k+1]] in the flat weights
};

// `widths` is host memory: its values travel as kernel parameters. False when there are too many layers.
inline bool read_network(const int32_t* widths, int layers, Network* net) {
  if (layers < 1 || layers > kMaxLayers) return false;
  net->layers = layers;
  for (int k = 0, total = 0; k <= layers; ++k) {
    net->width[k] = widths[k];
    if (k < layers) net->start[k] = total, total += widths[k] * widths[k + 1];
  }
  return true;
}

inline int weight_count(const Network& net) {
  const int last = net.layers - 1;
  return net.start[last] + net.width[last] * net.width[last + 1];
}

// Calls body(integral_constant<int, W>) with the least W of 32, 64 and 128 that no layer is wider than.
template <class Body> int with_width(const Network& net, const Body& body) {
  int widest = 0;
  for (int k = 0; k <= net.layers; ++k) widest = net.width[k] > widest ? net.width[k] : widest;
  if (widest <= 32) return body(std::integral_constant<int, 32>{});
  if (widest <= 64) return body(std::integral_constant<int, 64>{});
  if (widest <= 128) return body(std::integral_constant<int, 128>{});
  return cudaErrorInvalidValue;
}

// gweights[total] (+)= scale * the sum over the rows of partial[splits, total], always in the same order. scale
// (device memory) may be null.
int add_up(const float* partial, int splits, int total, bool overwrite, const float* scale, float* gweights,
           void* stream);

} // namespace cuda
} // namespace fs
