// Samples that got no gradient (a ray ended before them) are left out of backward passes.
#pragma once
#include <cstdint>
#include <vector>

#include "pool.h"

namespace fs {

// Indices of the rows of g[N, width] that are not all zero, in order. NaN counts as not zero.
inline std::vector<int64_t> nonzero_rows(const float* g, int64_t N, int64_t width, int threads) {
  constexpr int64_t kChunk = 2048;
  std::vector<std::vector<int64_t>> parts((N + kChunk - 1) / kChunk);
  parallel_chunks(N, kChunk, threads, [&](int64_t begin, int64_t end, int) {
    std::vector<int64_t>& part = parts[begin / kChunk];
    part.reserve(end - begin);
    for (int64_t i = begin; i < end; ++i) {
      bool any = false;
      for (int64_t k = 0; k < width; ++k) any |= g[i * width + k] != 0;
      if (any) part.push_back(i);
    }
  });
  std::vector<int64_t> rows;
  rows.reserve(N);
  for (const std::vector<int64_t>& part : parts) rows.insert(rows.end(), part.begin(), part.end());
  return rows;
}

} // namespace fs
