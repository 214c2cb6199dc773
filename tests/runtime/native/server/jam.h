// A pool that gets nothing done, for tests of what happens then.
#pragma once

#include <future>

#include "server/work/pool.h"

namespace recblr::server {

// While it lives, a pool of one thread is busy, and takes nothing more where it `is_full`.
class Jam {
 public:
  explicit Jam(Pool* pool, bool is_full = true) {
    std::promise<void> begun;
    pool->post([&begun, end = end_.get_future().share()] {
      begun.set_value();
      end.wait();
    });
    begun.get_future().wait();
    while (is_full && pool->post([] {})) {
    }
  }
  ~Jam() { end_.set_value(); }
  Jam(const Jam&) = delete;
  Jam& operator=(const Jam&) = delete;

 private:
  std::promise<void> end_;
};

}  // namespace recblr::server
