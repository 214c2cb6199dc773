// A part of what all connections have together.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace recblr::server {

// `size` is in `*total` as long as it lives. `total` must outlive it.
class Share {
 public:
  Share() = default;
  Share(std::atomic<int64_t>* total, int64_t size) : total_(total), size_(size) { *total_ += size_; }
  Share(Share&& other) noexcept : total_(std::exchange(other.total_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Share& operator=(Share&& other) noexcept {
    Share gone(std::move(*this));
    std::swap(total_, other.total_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Share() { resize(0); }

  void resize(int64_t size) {
    if (total_ != nullptr && size != size_) *total_ += size - std::exchange(size_, size);
  }

 private:
  std::atomic<int64_t>* total_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace recblr::server
