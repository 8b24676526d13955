// Entry points of the CUDA kernels: the prototypes with a stream in the place of the thread count, and a
// cudaError_t as the result. All pointers are device memory, except `widths`, `box` and
// `sizes`, whose few values travel as kernel parameters.
#pragma once
#include <cstdint>

#include "../levels.h"

namespace fs {
namespace prototypes {
#include "../prototypes.inc"
#include "prototypes.inc"
}

// void(A..., int32_t threads) becomes int(A..., void* stream).
template <class Done, class Rest> struct Launcher;
template <class... D> struct Launcher<void(D...), void(int32_t)> {
  using type = int(D..., void*);
};
template <class... D, class A, class B, class... R>
struct Launcher<void(D...), void(A, B, R...)> : Launcher<void(D..., A), void(B, R...)> {};

#define FS_CUDA_KERNELS(X)                                                                                             \
  X(hash_grid_forward)                                                                                                 \
  X(hash_grid_half_forward)                                                                                            \
  X(hash_grid_backward)                                                                                                \
  X(hash_grid_backward_backward)                                                                                       \
  X(mlp_forward)                                                                                                       \
  X(mlp_backward)                                                                                                      \
  X(mlp_half_forward)                                                                                                  \
  X(mlp_half_backward)                                                                                                 \
  X(spherical_harmonics)                                                                                               \
  X(march)                                                                                                             \
  X(march_pack)                                                                                                        \
  X(coarsen)                                                                                                           \
  X(visible)                                                                                                           \
  X(composite_forward)                                                                                                 \
  X(composite_backward)                                                                                                \
  X(adam)                                                                                                              \
  X(plane_lookup_forward)                                                                                              \
  X(plane_lookup_backward)                                                                                             \
  X(plane_lookup_backward_backward)                                                                                    \
  X(sparse_lookup_forward)                                                                                             \
  X(sparse_lookup_backward)                                                                                            \
  X(sparse_lookup_backward_backward)

#define FS_DECLARE(name) Launcher<void(), decltype(prototypes::name)>::type name;
extern "C" {
FS_CUDA_KERNELS(FS_DECLARE)
}
#undef FS_DECLARE

} // namespace fs
