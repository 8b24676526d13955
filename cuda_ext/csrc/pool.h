// A small persistent thread pool: no OpenMP runtime, so nothing spins beside torch's own threads.
#pragma once
#include <cstdint>
#include <functional>

namespace fs {

// Runs task(index, worker) for every index in [0, count) on at most `threads` threads. Workers take
// indices in order from a shared counter; worker < threads. Blocks until all are done. Not re-entrant:
// a nested call runs serially.
void parallel_tasks(int64_t count, int threads, const std::function<void(int64_t, int)>& task);

// Splits [0, count) into contiguous chunks of at most `chunk`: body(begin, end, worker).
inline void parallel_chunks(int64_t count, int64_t chunk, int threads,
                            const std::function<void(int64_t, int64_t, int)>& body) {
  parallel_tasks((count + chunk - 1) / chunk, threads, [&](int64_t index, int worker) {
    const int64_t begin = index * chunk;
    body(begin, begin + chunk < count ? begin + chunk : count, worker);
  });
}

} // namespace fs
