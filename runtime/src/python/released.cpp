#include "python/released.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "python/errors.h"

namespace recblr::python {
namespace {

std::atomic<int> n_released{0};
std::atomic<bool> ending{false};

// The calls of other threads are the parent's.
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] { n_released = 0; });

}  // namespace

Released::Released() {
  if (ending) raise(RECBLR_CLOSED, "the interpreter ends: ask before that");
  ++n_released;
  state_ = PyEval_SaveThread();
}

Released::~Released() {
  PyEval_RestoreThread(state_);
  --n_released;
}

bool Released::is_ending() { return ending; }

Counted::Counted() { ++n_released; }

Counted::~Counted() { --n_released; }

void wait_for_released(double seconds) {
  ending = true;
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (n_released > 0 && std::chrono::steady_clock::now() < until) {
    PyThreadState* state = PyEval_SaveThread();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    PyEval_RestoreThread(state);
  }
}

}  // namespace recblr::python
