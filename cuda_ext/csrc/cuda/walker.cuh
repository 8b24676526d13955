// One ray's walk through a bit grid with a coarse grid of 8^3 blocks over it.
#pragma once
#include "common.cuh"

namespace fs {
namespace cuda {

constexpr int kBlockCells = 8; // cells along a block of the coarse grid
constexpr float kFar = 1e30f;

struct Grid {
  const uint8_t *bits, *coarse;
  const float* shares; // may be null
  int size;
  FS_BOTH int64_t index(const int* c) const { return (static_cast<int64_t>(c[2]) * size + c[1]) * size + c[0]; }
  FS_BOTH bool occupied(int64_t i) const { return bits[i >> 3] >> (i & 7) & 1; }
  FS_BOTH bool block_occupied(const int* c) const {
    const int blocks = size / kBlockCells;
    return coarse[(static_cast<int64_t>(c[2] / kBlockCells) * blocks + c[1] / kBlockCells) * blocks + c[0] / kBlockCells];
  }
};

struct Steps {
  float step, cone;
  int contraction;
  FS_BOTH float length(float t) const { return fmaxf(step, t * cone); }
};

// Maps all space into the cube: the box keeps the middle half of every axis (mip-NeRF 360, eq. 10, with the
// maximum norm, so that the cube is filled).
FS_BOTH void contract(float* u) {
  float y[3], norm = 0;
  for (int k = 0; k < 3; ++k) {
    y[k] = 2 * u[k] - 1;
    norm = fmaxf(norm, fabsf(y[k]));
  }
  const float scale = norm > 1 ? (2 - 1 / norm) / norm : 1.f;
  for (int k = 0; k < 3; ++k) u[k] = 0.5f + 0.25f * y[k] * scale;
}

class Walker {
public:
  FS_BOTH Walker(const float* o, const float* d, const Box& box, const Grid& grid, const Steps& steps)
      : grid_(grid), steps_(steps) {
    for (int k = 0; k < 3; ++k) {
      origin_[k] = (o[k] - box.low[k]) * box.inverse[k];
      slope_[k] = d[k] * box.inverse[k];
      inverse_[k] = 1.f / (fabsf(slope_[k]) < 1e-12f ? copysignf(1e-12f, slope_[k]) : slope_[k]);
    }
  }

  FS_BOTH int walk(float& t, float t_end, int limit, float* start, float* end) const {
    int n = 0;
    float blocked = 0;
    while (t < t_end && n < limit) {
      const float dt = steps_.length(t);
      // A step that rounding swallows would never end: such a ray has left any sensible scene.
      if (!(t + dt > t)) {
        t = kFar;
        break;
      }
      const float middle = t + 0.5f * dt;
      float u[3];
      for (int k = 0; k < 3; ++k) u[k] = origin_[k] + middle * slope_[k];
      int64_t cell;
      const int skip = empty_cells(u, cell);
      if (skip == 0) {
        if (blocked >= 1) {
          t = fmaxf(t, t_end);
          break;
        }
        if (grid_.shares) blocked += grid_.shares[cell];
        start[n] = t, end[n] = t + dt, ++n;
        t += dt;
      } else {
        t = leave(t, t_end, u, skip);
      }
    }
    return n;
  }

private:
  // Side of the empty block of cells round u: 0 when the cell, whose index is set, is occupied.
  FS_BOTH int empty_cells(float* u, int64_t& cell) const {
    if (steps_.contraction == kUnbounded) contract(u);
    int c[3];
    for (int k = 0; k < 3; ++k) {
      const int cell = static_cast<int>(fminf(fmaxf(u[k], 0.f), 1.f) * grid_.size);
      c[k] = cell < grid_.size ? cell : grid_.size - 1;
    }
    if (!grid_.block_occupied(c)) return kBlockCells;
    cell = grid_.index(c);
    return grid_.occupied(cell) ? 0 : 1;
  }

  // First step whose midpoint is beyond the empty block; whole steps, so that samples stay on one comb.
  FS_BOTH float leave(float t, float t_end, const float* u, int cells) const {
    const float dt = steps_.length(t);
    if (steps_.contraction == kUnbounded) return t + dt; // blocks are curved there: one step at a time
    const float side = static_cast<float>(cells) / grid_.size;
    float exit = kFar;
    for (int k = 0; k < 3; ++k) {
      const float face = (floorf(u[k] / side) + (slope_[k] > 0 ? 1.f : 0.f)) * side;
      exit = fminf(exit, (face - origin_[k]) * inverse_[k]);
    }
    if (steps_.cone <= 0) return t + dt * fmaxf(1.f, ceilf((exit - (t + 0.5f * dt)) / dt));
    float before;
    do {
      before = t;
      t += steps_.length(t);
    } while (t + 0.5f * steps_.length(t) < exit && t < t_end && t > before);
    return t;
  }

  Grid grid_;
  Steps steps_;
  float origin_[3], slope_[3], inverse_[3];
};

} // namespace cuda
} // namespace fs
