// Ray marching through an occupancy bit grid into samples.
#include <algorithm>
#include <cmath>

#include "../kernels.h"
#include "../pool.h"

namespace fs {
namespace FS_ISA {
namespace {

constexpr int64_t kRaysPerTask = 128;
constexpr int kBlockCells = 8; // cells along a block of the coarse grid
constexpr float kFar = 1e30f;

struct Grid {
  const uint8_t *bits, *coarse;
  const float* shares; // may be null
  int size;
  int64_t index(const int* c) const { return (static_cast<int64_t>(c[2]) * size + c[1]) * size + c[0]; }
  bool occupied(int64_t i) const { return bits[i >> 3] >> (i & 7) & 1; }
  bool block_occupied(const int* c) const {
    const int blocks = size / kBlockCells;
    return coarse[(static_cast<int64_t>(c[2] / kBlockCells) * blocks + c[1] / kBlockCells) * blocks + c[0] / kBlockCells];
  }
};

// Maps all space into the cube: the box keeps the middle half of every axis (mip-NeRF 360, eq. 10, with the
// maximum norm, so that the cube is filled).
void contract(float* u) {
  float y[3], norm = 0;
  for (int k = 0; k < 3; ++k) {
    y[k] = 2 * u[k] - 1;
    norm = std::max(norm, std::fabs(y[k]));
  }
  const float scale = norm > 1 ? (2 - 1 / norm) / norm : 1.f;
  for (int k = 0; k < 3; ++k) u[k] = 0.5f + 0.25f * y[k] * scale;
}

class Walker {
public:
  Walker(const float* o, const float* d, const Box& box, int32_t contraction, const Grid& grid, float step, float cone)
      : grid_(grid), step_(step), cone_(cone), contraction_(contraction) {
    for (int k = 0; k < 3; ++k) {
      origin_[k] = (o[k] - box.low[k]) * box.inverse[k];
      slope_[k] = d[k] * box.inverse[k];
      inverse_[k] = 1.f / (std::fabs(slope_[k]) < 1e-12f ? std::copysign(1e-12f, slope_[k]) : slope_[k]);
    }
  }

  int32_t walk(float& t, float t_end, int32_t limit, float* start, float* end) const {
    int32_t n = 0;
    float blocked = 0;
    // A step that rounding swallows would never end: such a ray has left any sensible scene.
    while (t < t_end && n < limit) {
      const float dt = length(t);
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
          t = std::max(t, t_end);
          break;
        }
        if (grid_.shares) blocked += grid_.shares[cell];
        start[n] = t, end[n] = t + dt, ++n;
        t += dt;
      } else {
        t = leave(t, t_end, dt, u, skip);
      }
    }
    return n;
  }

private:
  float length(float t) const { return std::max(step_, t * cone_); }

  // Side of the empty block of cells round u: 0 when the cell, whose index is set, is occupied.
  int empty_cells(float* u, int64_t& cell) const {
    if (contraction_ == kUnbounded) contract(u);
    int c[3];
    for (int k = 0; k < 3; ++k)
      c[k] = std::min(std::max(static_cast<int>(std::min(std::max(0.f, u[k]), 1.f) * grid_.size), 0), grid_.size - 1);
    if (!grid_.block_occupied(c)) return kBlockCells;
    cell = grid_.index(c);
    return grid_.occupied(cell) ? 0 : 1;
  }

  // First step whose midpoint is beyond the empty block; whole steps, so that samples stay on one comb.
  float leave(float t, float t_end, float dt, const float* u, int cells) const {
    if (contraction_ == kUnbounded) return t + dt; // blocks are curved there: one step at a time
    const float side = static_cast<float>(cells) / grid_.size, per_side = static_cast<float>(grid_.size) / cells;
    float exit = kFar;
    for (int k = 0; k < 3; ++k) {
      const float face = (std::floor(u[k] * per_side) + (slope_[k] > 0 ? 1.f : 0.f)) * side;
      exit = std::min(exit, (face - origin_[k]) * inverse_[k]);
    }
    if (cone_ <= 0) return t + dt * std::max(1.f, std::ceil((exit - (t + 0.5f * dt)) / dt));
    float before;
    do {
      before = t;
      t += length(t);
    } while (t + 0.5f * length(t) < exit && t < t_end && t > before);
    return t;
  }

  Grid grid_;
  float step_, cone_;
  int32_t contraction_;
  float origin_[3], slope_[3], inverse_[3];
};

} // namespace

void march(const float* origins, const float* directions, int64_t R, const Box* box, int32_t contraction,
           const uint8_t* bits, const uint8_t* coarse, const float* shares, int32_t G, float step, float cone,
           int32_t limit, float* t, const float* t_end, float* start, float* end, int32_t* count, int32_t threads) {
  const Grid grid{bits, coarse, shares, G};
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      const Walker walker(origins + 3 * r, directions + 3 * r, *box, contraction, grid, step, cone);
      count[r] = walker.walk(t[r], t_end[r], limit, start + r * limit, end + r * limit);
    }
  });
}

void march_pack(const float* origins, const float* directions, int64_t R, int32_t limit, const float* start,
                const float* end, const int64_t* offsets, int64_t* ray_out, float* start_out, float* end_out,
                float* x, int32_t threads) {
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r)
      for (int64_t s = offsets[r], i = r * limit; s < offsets[r + 1]; ++s, ++i) {
        ray_out[s] = r, start_out[s] = start[i], end_out[s] = end[i];
        const float t = 0.5f * (start[i] + end[i]);
        for (int k = 0; k < 3; ++k) x[3 * s + k] = origins[3 * r + k] + t * directions[3 * r + k];
      }
  });
}

void coarsen(const uint8_t* bits, int32_t G, uint8_t* coarse, int32_t threads) {
  const int blocks = G / kBlockCells, row = G / 8;
  parallel_tasks(blocks, threads, [&](int64_t bz, int) {
    for (int by = 0; by < blocks; ++by)
      for (int bx = 0; bx < blocks; ++bx) {
        uint8_t any = 0;
        for (int z = 0; z < kBlockCells; ++z)
          for (int y = 0; y < kBlockCells; ++y)
            any |= bits[((bz * kBlockCells + z) * G + by * kBlockCells + y) * row + bx];
        coarse[(bz * blocks + by) * blocks + bx] = any != 0;
      }
  });
}

} // namespace FS_ISA
} // namespace fs
