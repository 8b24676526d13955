// The Adam update (Kingma and Ba 2015). Memory-bound: 7 floats move for each parameter, 1 for a skipped one.
#include "common.cuh"

namespace fs {
namespace cuda {
namespace {

struct Settings {
  float rate, beta1, beta2, epsilon, decay;
};

template <int V> struct alignas(V * sizeof(float)) Pack {
  float v[V];
};

// V parameters of one thread; nothing more is read when none of them has a gradient.
template <int V>
__global__ void __launch_bounds__(kThreads)
adam_kernel(float* __restrict__ parameter, float* __restrict__ gradient, float* __restrict__ first,
            float* __restrict__ second, int64_t packs, Settings s, bool skip) {
  const int64_t i = thread_index();
  if (i >= packs) return;
  Pack<V>& gradients = reinterpret_cast<Pack<V>*>(gradient)[i];
  Pack<V> g = gradients;
  bool any = false;
  for (int k = 0; k < V; ++k) any |= g.v[k] != 0;
  if (skip && !any) return;
  Pack<V> p = reinterpret_cast<Pack<V>*>(parameter)[i];
  Pack<V> m = reinterpret_cast<Pack<V>*>(first)[i], v = reinterpret_cast<Pack<V>*>(second)[i];
  for (int k = 0; k < V; ++k) {
    if (skip && g.v[k] == 0) continue;
    g.v[k] += s.decay * p.v[k];
    m.v[k] = s.beta1 * m.v[k] + (1 - s.beta1) * g.v[k];
    v.v[k] = s.beta2 * v.v[k] + (1 - s.beta2) * g.v[k] * g.v[k];
    p.v[k] -= s.rate * m.v[k] / (sqrtf(v.v[k]) + s.epsilon);
  }
  reinterpret_cast<Pack<V>*>(parameter)[i] = p;
  reinterpret_cast<Pack<V>*>(first)[i] = m;
  reinterpret_cast<Pack<V>*>(second)[i] = v;
  gradients = Pack<V>{};
}

} // namespace
} // namespace cuda

using namespace cuda;

extern "C" int adam(float* parameter, float* gradient, float* first, float* second, int64_t N, float rate, float beta1,
                    float beta2, float epsilon, float decay, int32_t skip, void* stream) {
  const Settings settings{rate, beta1, beta2, epsilon, decay};
  const bool vectors = aligned(parameter, 16) && aligned(gradient, 16) && aligned(first, 16) && aligned(second, 16);
  const int64_t packs = vectors ? N / 4 : 0, done = packs * 4;
  if (const int error = run(adam_kernel<4>, dim3(blocks_for(packs, kThreads)), kThreads, stream, parameter, gradient,
                            first, second, packs, settings, skip != 0))
    return error;
  return run(adam_kernel<1>, dim3(blocks_for(N - done, kThreads)), kThreads, stream, parameter + done, gradient + done,
             first + done, second + done, N - done, settings, skip != 0);
}

} // namespace fs
