// Bytes that were received and not yet taken.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace recblr::server {

class InputBuffer {
 public:
  std::string_view content() const { return {bytes_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  void take(size_t n) { begin_ += n; }
  // At least `n` bytes to write to; `*size` is how many there are. They stay where they are, whatever is taken, until
  // added() says how many came.
  char* room(size_t n, size_t* size) {
    if (empty()) begin_ = end_ = 0;
    if (capacity_ - end_ < n) make_room(n);
    *size = capacity_ - end_;
    return bytes_.get() + end_;
  }
  void added(size_t n) { end_ += n; }
  // Keeps no more than `capacity` bytes where it is empty. Not between room() and added().
  void shrink(size_t capacity) {
    if (!empty() || capacity_ <= capacity) return;
    bytes_.reset();
    begin_ = end_ = capacity_ = 0;
  }

 private:
  void make_room(size_t n) {
    const size_t held = end_ - begin_;
    if (capacity_ - held >= n) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, held);
    } else {
      const size_t capacity = held + n;
      std::unique_ptr<char[]> bytes(new char[capacity]);
      if (held > 0) std::memcpy(bytes.get(), bytes_.get() + begin_, held);
      bytes_ = std::move(bytes);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
  }

  std::unique_ptr<char[]> bytes_;
  size_t begin_ = 0, end_ = 0, capacity_ = 0;
};

}  // namespace recblr::server
