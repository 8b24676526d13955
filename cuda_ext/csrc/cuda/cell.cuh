// Which table entries a position reads, and with which weights: the index arithmetic of the hash grid.
#pragma once
#include "common.cuh"

namespace fs {
namespace cuda {

// Positions outside the unit cube use its border, and NaN the lower one: no input can leave the table.
FS_BOTH float inside(float u) { return u > 0.f ? (u < 1.f ? u : 1.f) : 0.f; }

struct Strides {
  uint32_t y, z, mask;
  bool hashed;
  FS_BOTH explicit Strides(const HashLevel& v)
      : y(v.hashed ? 2654435761u : v.resolution), z(v.hashed ? 805459861u : v.resolution * v.resolution),
        mask(v.size - 1), hashed(v.hashed != 0) {}
};

struct Cell {
  uint32_t x, y, z;
  float fx, fy, fz;

  FS_BOTH Cell(const float* u, float scale) {
    const float px = inside(u[0]) * scale + 0.5f, py = inside(u[1]) * scale + 0.5f, pz = inside(u[2]) * scale + 0.5f;
    x = static_cast<uint32_t>(px), y = static_cast<uint32_t>(py), z = static_cast<uint32_t>(pz);
    fx = px - static_cast<float>(x), fy = py - static_cast<float>(y), fz = pz - static_cast<float>(z);
  }
  FS_BOTH bool same_as(const Cell& other) const { return x == other.x && y == other.y && z == other.z; }
  // Corner c is at the upper end of axis k where bit k of c is set.
  FS_BOTH uint32_t entry(const Strides& s, int c) const {
    const uint32_t vx = x + (c & 1), vy = (y + (c >> 1 & 1)) * s.y, vz = (z + (c >> 2)) * s.z;
    return s.hashed ? (vx ^ vy ^ vz) & s.mask : vx + vy + vz;
  }
  FS_BOTH float weight(int c) const { return wx(c) * wy(c) * wz(c); }
  // Derivatives of the corner's weight along x, y, z (per cell, not yet times the level's scale).
  FS_BOTH void slope(int c, float* d) const {
    d[0] = sign(c & 1) * wy(c) * wz(c);
    d[1] = sign(c & 2) * wx(c) * wz(c);
    d[2] = sign(c & 4) * wx(c) * wy(c);
  }
  // Mixed second derivatives xy, xz, yz; the pure ones of a trilinear weight are zero.
  FS_BOTH void twist(int c, float* d) const {
    d[0] = sign(c & 1) * sign(c & 2) * wz(c);
    d[1] = sign(c & 1) * sign(c & 4) * wy(c);
    d[2] = sign(c & 2) * sign(c & 4) * wx(c);
  }

private:
  FS_BOTH float wx(int c) const { return c & 1 ? fx : 1 - fx; }
  FS_BOTH float wy(int c) const { return c & 2 ? fy : 1 - fy; }
  FS_BOTH float wz(int c) const { return c & 4 ? fz : 1 - fz; }
  FS_BOTH static float sign(int upper) { return upper ? 1.f : -1.f; }
};

} // namespace cuda
} // namespace fs
