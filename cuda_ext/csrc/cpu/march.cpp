// Ray marching through an occupancy bit grid into samples.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../kernels.h"
#include "../pool.h"
#include "../simd.h"

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
};

// Maps all space into the cube: the box keeps the middle half of every axis (mip-NeRF 360, eq. 10, with the
// maximum norm, so that the cube is filled).
void contract(vf* u) {
  vf y[3], norm{};
  for (int k = 0; k < 3; ++k) {
    y[k] = splat(2.f) * u[k] - splat(1.f);
    const vf size = y[k] < 0 ? -y[k] : y[k];
    norm = norm > size ? norm : size;
  }
  const vf one = splat(1.f), scale = norm > one ? (splat(2.f) - one / norm) / norm : one;
  for (int k = 0; k < 3; ++k) u[k] = splat(0.5f) + splat(0.25f) * y[k] * scale;
}

// What a ray has found so far.
struct Ray {
  std::vector<float> start, end;
  float blocked = 0;
  void clear() { start.clear(), end.clear(), blocked = 0; }
};

class Walker {
public:
  Walker() = default;
  Walker(const float* o, const float* d, const Box& box, int32_t contraction, const Grid& grid, float step, float cone)
      : grid_(grid), step_(step), cone_(cone), contraction_(contraction) {
    for (int k = 0; k < 3; ++k) {
      origin_[k] = (o[k] - box.low[k]) * box.inverse[k];
      slope_[k] = d[k] * box.inverse[k];
      inverse_[k] = 1.f / (std::fabs(slope_[k]) < 1e-12f ? std::copysign(1e-12f, slope_[k]) : slope_[k]);
    }
  }

  // Goes on until the ray ends, or with `once` for one comb, and leaves t at t_end or beyond when it has ended.
  void walk(Ray& ray, float& t, float& t_end, int32_t limit, bool once) const {
    Comb comb;
    while (t < t_end) {
      // A step that rounding swallows would never end: such a ray has left any sensible scene.
      if (!(t + length(t) > t)) {
        t = kFar;
        return;
      }
      if (!once && contraction_ != kUnbounded && block_is_empty(t)) {
        t = leave_block(t, t_end);
        continue;
      }
      const int steps = lay(comb, t, t_end);
      for (uint32_t occupied = look(comb, steps); occupied; occupied &= occupied - 1) {
        const int k = __builtin_ctz(occupied);
        if (ray.blocked >= 1) {
          t = t_end;
          return;
        }
        if (grid_.shares) ray.blocked += grid_.shares[comb.cell[k]];
        ray.start.push_back(comb.start[k]), ray.end.push_back(comb.start[k + 1]);
        if (static_cast<int32_t>(ray.start.size()) == limit) {
          t = t_end = comb.start[k + 1];
          return;
        }
      }
      t = comb.start[steps];
      if (once) return;
    }
  }

private:
  // Some steps in a row, looked at together.
  struct Comb {
    alignas(64) float start[W + 1]; // of each step, and the end of the last
    alignas(64) int32_t cell[W];    // in which its middle lies
  };

  float length(float t) const { return std::max(step_, t * cone_); }

  // Lays the steps that begin before t_end, W at most, and returns how many.
  int lay(Comb& comb, float t, float t_end) const {
    comb.start[0] = t;
    if (cone_ <= 0)
      for (int k = 1; k <= W; ++k) comb.start[k] = t + static_cast<float>(k) * step_;
    else
      for (int k = 0; k < W; ++k) comb.start[k + 1] = comb.start[k] + length(comb.start[k]);
    int steps = 0;
    for (int k = 0; k < W; ++k) steps += comb.start[k] < t_end;
    return steps;
  }

  // A bit for each of the first steps whose middle lies in an occupied cell.
  uint32_t look(Comb& comb, int steps) const {
    vf u[3];
    const vf middle = splat(0.5f) * (load(comb.start) + load(comb.start + 1));
    for (int k = 0; k < 3; ++k) u[k] = splat(origin_[k]) + middle * splat(slope_[k]);
    if (contraction_ == kUnbounded) contract(u);
    vi cell{};
    for (int k = 2; k >= 0; --k) {
      const vf zero{}, one = splat(1.f), inside = u[k] > zero ? (u[k] < one ? u[k] : one) : zero;
      const vi last = vi{} + (grid_.size - 1), c = to_int(inside * splat(static_cast<float>(grid_.size)));
      cell = cell * grid_.size + (c < last ? c : last);
    }
    std::memcpy(comb.cell, &cell, sizeof(cell));
    uint32_t occupied = 0;
    for (int k = 0; k < steps; ++k)
      occupied |= static_cast<uint32_t>(grid_.bits[comb.cell[k] >> 3] >> (comb.cell[k] & 7) & 1) << k;
    return occupied;
  }

  void place(float t, float* u) const {
    const float middle = t + 0.5f * length(t);
    for (int k = 0; k < 3; ++k) u[k] = origin_[k] + middle * slope_[k];
  }

  bool block_is_empty(float t) const {
    float u[3];
    place(t, u);
    const int blocks = grid_.size / kBlockCells;
    int64_t block = 0;
    for (int k = 2; k >= 0; --k) {
      const int c = static_cast<int>(std::min(std::max(0.f, u[k]), 1.f) * static_cast<float>(blocks));
      block = block * blocks + std::min(c, blocks - 1);
    }
    return !grid_.coarse[block];
  }

  // First step whose midpoint is beyond the empty block; whole steps, so that samples stay on one comb.
  float leave_block(float t, float t_end) const {
    const float per_side = static_cast<float>(grid_.size / kBlockCells), side = 1 / per_side;
    float u[3], exit = kFar;
    place(t, u);
    for (int k = 0; k < 3; ++k) {
      const float face = (std::floor(u[k] * per_side) + (slope_[k] > 0 ? 1.f : 0.f)) * side;
      exit = std::min(exit, (face - origin_[k]) * inverse_[k]);
    }
    if (cone_ <= 0) return t + step_ * std::max(1.f, std::ceil((exit - (t + 0.5f * step_)) / step_));
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

// W rays at a time up to the next block that is not empty, as `Walker` would go one by one.
class Approach {
public:
  Approach(const float* origins, const float* directions, int64_t rays, const Box& box) {
    alignas(64) float origin[3][W] = {}, slope[3][W] = {};
    for (int64_t r = 0; r < rays; ++r)
      for (int k = 0; k < 3; ++k) {
        origin[k][r] = (origins[3 * r + k] - box.low[k]) * box.inverse[k];
        slope[k][r] = directions[3 * r + k] * box.inverse[k];
      }
    for (int k = 0; k < 3; ++k) {
      origin_[k] = load(origin[k]), slope_[k] = load(slope[k]);
      const vf tiny = splat(1e-12f), steep = slope_[k] < 0 ? -slope_[k] : slope_[k];
      inverse_[k] = splat(1.f) / (steep < tiny ? (slope_[k] < 0 ? -tiny : tiny) : slope_[k]);
    }
  }

  vf walk(vf t, vf t_end, const Grid& grid, float step) const {
    const int blocks = grid.size / kBlockCells;
    const vf one = splat(1.f), per_side = splat(static_cast<float>(blocks)), side = one / per_side;
    for (;;) {
      const vf middle = t + splat(0.5f * step);
      vf u[3], exit = splat(kFar);
      vi block{};
      for (int k = 2; k >= 0; --k) {
        u[k] = origin_[k] + middle * slope_[k];
        const vf zero{}, inside = u[k] > zero ? (u[k] < one ? u[k] : one) : zero;
        const vi last = vi{} + (blocks - 1), c = to_int(inside * per_side);
        block = block * blocks + (c < last ? c : last);
        const vf face = (floor_of(u[k] * per_side) + (slope_[k] > zero ? one : zero)) * side;
        const vf reached = (face - origin_[k]) * inverse_[k];
        exit = reached < exit ? reached : exit;
      }
      alignas(64) int32_t index[W], empty[W];
      std::memcpy(index, &block, sizeof(block));
      for (int r = 0; r < W; ++r) empty[r] = -!grid.coarse[index[r]];
      vi going;
      std::memcpy(&going, empty, sizeof(going));
      going &= (t < t_end) & (t + splat(step) > t);
      if (none(going)) return t;
      const vf steps = -floor_of((middle - exit) / splat(step));
      const vf beyond = t + splat(step) * (steps > one ? steps : one);
      t = going ? beyond : t;
    }
  }

private:
  vf origin_[3], slope_[3], inverse_[3];
};

} // namespace

void march(const float* origins, const float* directions, int64_t R, const Box* box, int32_t contraction,
           const uint8_t* bits, const uint8_t* coarse, const float* shares, int32_t G, float step, float cone,
           int32_t limit, float* t, const float* t_end, float* start, float* end, int32_t* count, int32_t threads) {
  const Grid grid{bits, coarse, shares, G};
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    static thread_local std::vector<Ray> rays(W);
    const bool together = contraction != kUnbounded && cone <= 0;
    int64_t at = first * limit; // a task's samples lie in a row: a page for each ray would cost more than marching
    for (int64_t r = first; r < last; r += W) {
      const int lanes = static_cast<int>(std::min<int64_t>(W, last - r));
      alignas(64) float begins[W] = {}, ends[W] = {};
      std::copy(t + r, t + r + lanes, begins), std::copy(t_end + r, t_end + r + lanes, ends);
      const Approach approach(origins + 3 * r, directions + 3 * r, lanes, *box);
      Walker walkers[W];
      for (int k = 0; k < lanes; ++k) {
        rays[k].clear();
        walkers[k] = Walker(origins + 3 * (r + k), directions + 3 * (r + k), *box, contraction, grid, step, cone);
      }
      for (bool going = limit > 0; going;) {
        if (together) store(begins, approach.walk(load(begins), load(ends), grid, step));
        going = false;
        for (int k = 0; k < lanes; ++k) {
          walkers[k].walk(rays[k], begins[k], ends[k], limit, together);
          going |= begins[k] < ends[k];
        }
      }
      std::copy(begins, begins + lanes, t + r);
      for (int k = 0; k < lanes; ++k) {
        std::copy(rays[k].start.begin(), rays[k].start.end(), start + at);
        std::copy(rays[k].end.begin(), rays[k].end.end(), end + at);
        count[r + k] = static_cast<int32_t>(rays[k].start.size()), at += count[r + k];
      }
    }
  });
}

void march_pack(const float* origins, const float* directions, int64_t R, int32_t limit, const float* start,
                const float* end, const int64_t* offsets, int64_t* ray_out, float* start_out, float* end_out,
                float* x, int32_t threads) {
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    int64_t i = first * limit;
    for (int64_t r = first; r < last; ++r)
      for (int64_t s = offsets[r]; s < offsets[r + 1]; ++s, ++i) {
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
