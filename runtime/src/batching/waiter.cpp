#include "batching/waiter.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <limits>

namespace recblr {

namespace {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "the system waits on the word itself");

void futex(const std::atomic<uint32_t>& word, int operation, uint32_t value) noexcept {
  syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

}  // namespace

void Bell::ring() noexcept {
  rung_.fetch_add(1, std::memory_order_release);
  futex(rung_, FUTEX_WAKE, std::numeric_limits<int32_t>::max());
}

void Bell::sleep(uint32_t rung) noexcept { futex(rung_, FUTEX_WAIT, rung); }

std::exception_ptr Waiter::wait() noexcept {
  for (;;) {
    const uint32_t rung = bell_->rung();
    if (answered_.load(std::memory_order_acquire)) return std::move(error_);
    bell_->sleep(rung);
  }
}

}  // namespace recblr
