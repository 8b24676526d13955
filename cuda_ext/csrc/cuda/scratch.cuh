// Temporary device memory in stream order: freed for later work of the same stream when the owner goes.
#pragma once
#include "common.cuh"

namespace fs {
namespace cuda {

int scratch_allocate(void** memory, size_t bytes, void* stream);
void scratch_free(void* memory, void* stream);

class Scratch {
public:
  Scratch(size_t floats, void* stream) : stream_(stream) {
    if (floats) error_ = scratch_allocate(&memory_, floats * sizeof(float), stream);
  }
  ~Scratch() {
    if (memory_) scratch_free(memory_, stream_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  int error() const { return error_; }
  float* data() const { return static_cast<float*>(memory_); }

private:
  void* memory_ = nullptr;
  void* stream_;
  int error_ = 0;
};

} // namespace cuda
} // namespace fs
