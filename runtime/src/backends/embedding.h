// A catalogue's vectors, of zeros where nobody holds them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace recblr {

class Embedding {
 public:
  // `held` is float32 [n_items + 1, dim] and outlives this, or NULL for zeros, which take no memory until they are
  // read.
  Embedding(const void* held, int64_t n_items, int64_t dim) : data_(held) {
    if (held != nullptr) return;
    zeros_.reset(std::calloc(static_cast<size_t>((n_items + 1) * dim), sizeof(float)));
    if (zeros_ == nullptr) throw std::bad_alloc();
    data_ = zeros_.get();
  }

  const void* data() const { return data_; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> zeros_;
  const void* data_;
};

}  // namespace recblr
