// Threads that wait for an answer: those of one batch sleep on one bell, so that one call of the system wakes them all.
// Waking each for itself costs more than a short row's run.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <utility>

namespace recblr {

// What threads sleep on until it rings. One that waits for something else, too, sleeps again.
class Bell {
 public:
  // Wakes all that sleep.
  void ring() noexcept;

  // What to remember before looking whether it still is to be waited for.
  uint32_t rung() const noexcept { return rung_.load(std::memory_order_acquire); }
  // Sleeps until it rings, unless it rang since `rung` was as given; it may wake for no reason.
  void sleep(uint32_t rung) noexcept;

 private:
  std::atomic<uint32_t> rung_{0};
};

// The thread that waits for a request in `run`.
class Waiter {
 public:
  // Set, by the thread that waits, before anything can answer; it must outlast the wait.
  void set_bell(Bell* bell) noexcept { bell_ = bell; }
  Bell* bell() const noexcept { return bell_; }

  // Ends the wait, and the waiter may be gone when this returns; it wakes when its bell rings.
  void answer(std::exception_ptr error) noexcept {
    error_ = std::move(error);
    answered_.store(true, std::memory_order_release);
  }
  // Returns nullptr, or why there is no answer.
  std::exception_ptr wait() noexcept;

 private:
  Bell* bell_ = nullptr;
  std::exception_ptr error_;
  std::atomic<bool> answered_{false};
};

}  // namespace recblr
