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

// As many rays at a time as a vector holds.
class Walker {
public:
  Walker(const float* origins, const float* directions, int rays, const Box& box, int32_t contraction, const Grid& grid,
         float step, float cone)
      : grid_(grid), step_(step), cone_(cone), unbounded_(contraction == kUnbounded) {
    for (int r = 0; r < rays; ++r)
      for (int k = 0; k < 3; ++k) {
        origin_[k][r] = (origins[3 * r + k] - box.low[k]) * box.inverse[k];
        slope_[k][r] = directions[3 * r + k] * box.inverse[k];
      }
  }

  // Each t moves on to its next step in a block that is not empty, or to its end. Rays that meet no such block, most
  // of most scenes', are done with this.
  void approach(float* t, const float* t_end) const {
    if (unbounded_) return;
    const int blocks = grid_.size / kBlockCells;
    const vf one = splat(1.f), per_side = splat(static_cast<float>(blocks)), side = one / per_side, last = load(t_end);
    vf now = load(t), origin[3], slope[3], inverse[3];
    for (int k = 0; k < 3; ++k) {
      origin[k] = load(origin_[k]), slope[k] = load(slope_[k]);
      const vf tiny = splat(1e-12f), steep = slope[k] < 0 ? -slope[k] : slope[k];
      inverse[k] = one / (steep < tiny ? (slope[k] < 0 ? -tiny : tiny) : slope[k]);
    }
    for (;;) {
      const vf middle = now + splat(0.5f) * length(now);
      vf exit = splat(kFar);
      vi block{};
      for (int k = 2; k >= 0; --k) {
        const vf u = origin[k] + middle * slope[k], face = floor_of(u * per_side) + (slope[k] > 0 ? one : vf{});
        const vf reached = (face * side - origin[k]) * inverse[k];
        exit = reached < exit ? reached : exit;
        block = block * blocks + index_along(u, blocks);
      }
      alignas(64) int32_t index[W], empty[W];
      std::memcpy(index, &block, sizeof(block));
      for (int r = 0; r < W; ++r) empty[r] = -!grid_.coarse[index[r]];
      vi going;
      std::memcpy(&going, empty, sizeof(going));
      going &= (now < last) & (now + length(now) > now);
      if (none(going)) break;
      now = going ? leave(now, middle, exit, last) : now;
    }
    store(t, now);
  }

  // Looks at the next steps of ray r; t is at its end, or beyond, when there are no more.
  void look(int r, Ray& ray, float& t, float& t_end, int32_t limit) const {
    if (!(t < t_end)) return;
    // A step that rounding swallows would never end: such a ray has left any sensible scene.
    if (!(t + length(t) > t)) {
      t = kFar;
      return;
    }
    Comb comb;
    const int steps = lay(comb, t, t_end);
    t = comb.start[steps];
    for (uint32_t occupied = find(r, comb, steps); occupied; occupied &= occupied - 1) {
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
  }

private:
  // Some steps in a row, looked at together.
  struct Comb {
    alignas(64) float start[W + 1]; // of each step, and the end of the last
    alignas(64) int32_t cell[W];    // in which its middle lies
  };

  float length(float t) const { return std::max(step_, t * cone_); }
  vf length(vf t) const {
    const vf shortest = splat(step_), grown = t * splat(cone_);
    return grown > shortest ? grown : shortest;
  }

  // Where u lies among `count` cells from 0 to 1; outside, and NaN, the one at the border.
  static vi index_along(vf u, int count) {
    const vf zero{}, one = splat(1.f), inside = u > zero ? (u < one ? u : one) : zero;
    const vi last = vi{} + (count - 1), c = to_int(inside * splat(static_cast<float>(count)));
    return c < last ? c : last;
  }

  // First steps whose middles are beyond `exit`; whole steps, so that samples stay on one comb.
  vf leave(vf t, vf middle, vf exit, vf last) const {
    if (cone_ <= 0) {
      const vf one = splat(1.f), steps = -floor_of((middle - exit) / splat(step_));
      return t + splat(step_) * (steps > one ? steps : one);
    }
    for (vi inside = vi{} - 1; !none(inside);) {
      const vf next = t + length(t);
      inside &= next > t;
      t = inside ? next : t;
      inside &= (t + splat(0.5f) * length(t) < exit) & (t < last);
    }
    return t;
  }

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
  uint32_t find(int r, Comb& comb, int steps) const {
    vf u[3];
    const vf middle = splat(0.5f) * (load(comb.start) + load(comb.start + 1));
    for (int k = 0; k < 3; ++k) u[k] = splat(origin_[k][r]) + middle * splat(slope_[k][r]);
    if (unbounded_) contract(u);
    vi cell{};
    for (int k = 2; k >= 0; --k) cell = cell * grid_.size + index_along(u[k], grid_.size);
    std::memcpy(comb.cell, &cell, sizeof(cell));
    uint32_t occupied = 0;
    for (int k = 0; k < steps; ++k)
      occupied |= static_cast<uint32_t>(grid_.bits[comb.cell[k] >> 3] >> (comb.cell[k] & 7) & 1) << k;
    return occupied;
  }

  Grid grid_;
  float step_, cone_;
  bool unbounded_;
  alignas(64) float origin_[3][W] = {}, slope_[3][W] = {};
};

} // namespace

void march(const float* origins, const float* directions, int64_t R, const Box* box, int32_t contraction,
           const uint8_t* bits, const uint8_t* coarse, const float* shares, int32_t G, float step, float cone,
           int32_t limit, float* t, const float* t_end, float* start, float* end, int32_t* count, int32_t threads) {
  const Grid grid{bits, coarse, shares, G};
  parallel_chunks(R, kRaysPerTask, threads, [&](int64_t first, int64_t last, int) {
    static thread_local std::vector<Ray> found(W);
    int64_t at = first * limit; // a task's samples lie in a row: a page for each ray would cost more than marching
    for (int64_t r = first; r < last; r += W) {
      const int rays = static_cast<int>(std::min<int64_t>(W, last - r));
      alignas(64) float now[W] = {}, ends[W] = {};
      std::copy(t + r, t + r + rays, now), std::copy(t_end + r, t_end + r + rays, ends);
      const Walker walker(origins + 3 * r, directions + 3 * r, rays, *box, contraction, grid, step, cone);
      for (int k = 0; k < rays; ++k) found[k].clear();
      for (bool going = limit > 0; going;) {
        walker.approach(now, ends);
        going = false;
        for (int k = 0; k < rays; ++k) {
          walker.look(k, found[k], now[k], ends[k], limit);
          going |= now[k] < ends[k];
        }
      }
      std::copy(now, now + rays, t + r);
      for (int k = 0; k < rays; ++k) {
        std::copy(found[k].start.begin(), found[k].start.end(), start + at);
        std::copy(found[k].end.begin(), found[k].end.end(), end + at);
        count[r + k] = static_cast<int32_t>(found[k].start.size()), at += count[r + k];
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
