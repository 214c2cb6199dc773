// Memory of runs that is used again, so that a run takes none from the heap once others were as large.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace recblr {

// An array that grows and begins at a cache line, so that no vector of a kernel lies across two.
template <typename T>
class Buffer {
 public:
  static_assert(std::is_trivially_destructible_v<T>);

  // Room for `count` elements. Where that is more than ever before, what was there is lost, and the elements are not
  // initialised.
  T* get(int64_t count) {
    if (count > count_) grow(count);
    return memory_.get();
  }

  // The same, but zeros where it is more than ever before.
  T* get_zeroed(int64_t count) {
    if (count > count_) {
      grow(count);
      std::memset(static_cast<void*>(memory_.get()), 0, static_cast<size_t>(bytes()));
    }
    return memory_.get();
  }

  T* data() const { return memory_.get(); }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(T)); }

 private:
  static constexpr std::align_val_t kAlignment{64};

  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, kAlignment); }
  };

  void grow(int64_t count) {
    count_ = 0;
    memory_.reset();  // first: the old and the new need not fit together
    memory_.reset(static_cast<T*>(::operator new(static_cast<size_t>(count) * sizeof(T), kAlignment)));
    count_ = count;
  }

  std::unique_ptr<T, Free> memory_;
  int64_t count_ = 0;
};

// As many pieces of scratch memory as there are runs at once. T has `int64_t bytes() const`.
template <typename T>
class ReusePool {
 public:
  // A piece for as long as this object lives.
  class Lease {
   public:
    explicit Lease(ReusePool* pool) : pool_(pool), scratch_(pool->take()) {}
    ~Lease() { pool_->give_back(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    T& operator*() const { return *scratch_; }
    T* operator->() const { return scratch_.get(); }

   private:
    ReusePool* pool_;
    std::unique_ptr<T> scratch_;
  };

 private:
  // What is larger is freed at once, so that a rare large request does not keep its memory.
  static constexpr int64_t kMostKept = int64_t{1} << 25;

  std::unique_ptr<T> take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<T> scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
      }
      free_.reserve(static_cast<size_t>(++taken_));  // so that giving back cannot fail
    }
    return std::make_unique<T>();
  }

  void give_back(std::unique_ptr<T> scratch) {
    if (scratch->bytes() > kMostKept) scratch = nullptr;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (scratch == nullptr) {
      --taken_;
    } else {
      free_.push_back(std::move(scratch));
    }
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
  int64_t taken_ = 0;  // pieces that there are
};

}  // namespace recblr
