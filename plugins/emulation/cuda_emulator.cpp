#include "cuda_emulator.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace cuda_emulator {

thread_local Place place;

namespace {

constexpr size_t kStackBytes = 64 * 1024;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  dim3 thread;
  bool done;
};

// A block's fibers; those of the largest block so far are kept for the next.
struct Block {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  std::vector<float> shared;
  Fiber* running = nullptr;
  const std::function<void()>* body = nullptr;
  std::minstd_rand random{1};
};

thread_local Block block;

void enter() {
  (*block.body)();
  block.running->done = true;
  swapcontext(&block.running->context, &block.scheduler);
}

void prepare(Fiber* fiber) {
  if (fiber->stack == nullptr) fiber->stack.reset(new char[kStackBytes]);
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  fiber->done = false;
  makecontext(&fiber->context, enter, 0);
}

void run_block(dim3 threads) {
  const size_t count = static_cast<size_t>(threads.x) * threads.y * threads.z;
  if (block.fibers.size() < count) block.fibers.resize(count);
  std::vector<Fiber*> waiting;
  for (size_t at = 0; at < count; ++at) {
    Fiber* fiber = &block.fibers[at];
    fiber->thread = dim3(static_cast<unsigned>(at % threads.x), static_cast<unsigned>(at / threads.x % threads.y),
                         static_cast<unsigned>(at / threads.x / threads.y));
    prepare(fiber);
    waiting.push_back(fiber);
  }
  while (!waiting.empty()) {
    std::shuffle(waiting.begin(), waiting.end(), block.random);
    std::vector<Fiber*> at_barrier;
    for (Fiber* fiber : waiting) {
      block.running = fiber;
      place.thread = fiber->thread;
      swapcontext(&block.scheduler, &fiber->context);
      if (!fiber->done) at_barrier.push_back(fiber);
    }
    // On a GPU a barrier that some threads never reach hangs.
    if (!at_barrier.empty() && at_barrier.size() != waiting.size()) std::abort();
    waiting = at_barrier;
  }
}

}  // namespace

float* shared_floats() { return block.shared.data(); }

void wait_at_barrier() { swapcontext(&block.running->context, &block.scheduler); }

void run(dim3 grid, dim3 threads, size_t shared_bytes, const std::function<void()>& body) {
  block.body = &body;
  place.threads = threads;
  place.blocks = grid;
  for (unsigned x = 0; x < grid.x; ++x) {
    place.block = dim3(x, 0, 0);
    block.shared.assign(shared_bytes / sizeof(float), std::numeric_limits<float>::quiet_NaN());
    run_block(threads);
  }
}

}  // namespace cuda_emulator
