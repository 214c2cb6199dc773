// Memory for the states between the pieces of long rows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace recblr {

// Blocks of float32 [2, S], which are used again and never given back to the system. Not locked.
class ScratchPool {
 public:
  explicit ScratchPool(int64_t state_size) : size_(static_cast<size_t>(2 * state_size)) {}

  float* take() {
    if (free_.empty()) {
      all_.reserve(all_.size() + 1);
      free_.reserve(all_.capacity());  // so that `give` needs no memory
      free_.push_back(all_.emplace_back(new float[size_]).get());
    }
    float* block = free_.back();
    free_.pop_back();
    return block;
  }

  void give(float* block) noexcept { free_.push_back(block); }

 private:
  size_t size_;
  std::vector<std::unique_ptr<float[]>> all_;
  std::vector<float*> free_;
};

}  // namespace recblr
