#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fs {
namespace {

// A worker looks for new work this many times before it sleeps: long enough to bridge the gap
// between two kernels of one training step, short enough not to steal a core from anybody.
constexpr int kSpins = 10000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// A generation counts the jobs; its low bits tell how many threads the job wants, so that a worker
// that wakes late can never mix one job's number with another's.
constexpr uint64_t kThreadBits = 16;
constexpr uint64_t kThreadMask = (1u << kThreadBits) - 1;

struct Job {
  const std::function<void(int64_t, int)>* task = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> next{0};
  std::atomic<int> running{0};
};

class Pool {
public:
  void run(int64_t count, int threads, const std::function<void(int64_t, int)>& task) {
    std::lock_guard<std::mutex> one_job(run_mutex_);
    grow(threads - 1);
    Job& job = job_;
    job.task = &task;
    job.count = count;
    job.next.store(0, std::memory_order_relaxed);
    job.running.store(threads - 1, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const uint64_t jobs = (generation_.load(std::memory_order_relaxed) >> kThreadBits) + 1;
      generation_.store(jobs << kThreadBits | static_cast<uint64_t>(threads), std::memory_order_release);
    }
    wake_.notify_all();
    work(job, 0);
    for (int spin = 0; job.running.load(std::memory_order_acquire) > 0;) {
      if (++spin > kSpins)
        std::this_thread::yield();
      else
        relax();
    }
  }

private:
  static void work(Job& job, int worker) {
    for (int64_t i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < job.count;)
      (*job.task)(i, worker);
  }

  void grow(int count) {
    while (static_cast<int>(threads_.size()) < count) {
      const int worker = static_cast<int>(threads_.size()) + 1;
      const uint64_t seen = generation_.load();
      threads_.emplace_back([this, worker, seen] { loop(worker, seen); });
      threads_.back().detach();
    }
  }

  void loop(int worker, uint64_t seen) {
    for (;;) {
      int spin = 0;
      while (generation_.load(std::memory_order_acquire) == seen && ++spin < kSpins)
        relax();
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
      }
      seen = generation_.load(std::memory_order_acquire);
      if (static_cast<uint64_t>(worker) < (seen & kThreadMask)) {
        work(job_, worker);
        job_.running.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  std::mutex run_mutex_, mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::vector<std::thread> threads_;
  Job job_;
};

Pool*& instance() {
  static Pool* pool = new Pool; // never destroyed: its threads may outlive static destructors
  return pool;
}

#if defined(__unix__) || defined(__APPLE__)
// A forked child has none of its parent's threads: it starts with a fresh pool.
const int forget_after_fork = pthread_atfork(nullptr, nullptr, [] { instance() = new Pool; });
#endif

thread_local bool inside = false;

} // namespace

void parallel_tasks(int64_t count, int threads, const std::function<void(int64_t, int)>& task) {
  if (threads > count) threads = static_cast<int>(count);
  if (threads <= 1 || inside) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  inside = true;
  instance()->run(count, threads, [&](int64_t i, int worker) {
    inside = true;
    task(i, worker);
  });
  inside = false;
}

} // namespace fs
