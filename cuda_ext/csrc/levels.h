// One level of a multiresolution hash grid, shared by the CPU and CUDA kernels.
#pragma once
#include <cstdint>

namespace fs {

struct HashLevel {
  float scale;         // position in cells = u * scale + 0.5
  uint32_t resolution; // vertices along an axis
  uint32_t size;       // entries in this level's part of the table
  uint32_t hashed;     // 0: dense indexing, 1: spatial hash (size is a power of two)
  int64_t offset;      // first entry of this level
};

struct Box {
  float low[3];
  float inverse[3]; // 1 / extent
};

// How scene positions become unit-cube positions before the occupancy lookup.
enum Contraction : int32_t { kAffine = 0, kUnbounded = 1 };

} // namespace fs
