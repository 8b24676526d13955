// Working memory that outlives a call: fresh pages from the system would cost more than many a kernel.
#pragma once
#include <cstddef>
#include <cstdlib>

namespace fs {

// A growing buffer; make it `static thread_local`, one for each purpose.
class Scratch {
public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  // Room for `count` floats, 64-byte aligned, contents undefined.
  float* floats(size_t count) {
    if (count > size_) {
      std::free(data_);
      size_ = (count + count / 4 + 1023) / 1024 * 1024;
      data_ = static_cast<float*>(std::aligned_alloc(64, size_ * sizeof(float)));
    }
    return data_;
  }

private:
  float* data_ = nullptr;
  size_t size_ = 0;
};

} // namespace fs
