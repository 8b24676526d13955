// The gradient of the hash table, first and second order.
#pragma once
#include "common.cuh"

namespace fs {
namespace cuda {

// gtable += sum over points of gy times each corner's weight (ggu null), or times the derivative of that
// weight along ggu[N, 3].
int scatter(const float* u, const float* gy, const float* ggu, const HashLevel* levels, int L, int F, int64_t N,
            float* gtable, void* stream);

} // namespace cuda
} // namespace fs
