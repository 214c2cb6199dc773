#include "cpu/parallel.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "cpu/crossovers.h"

namespace recblr {

namespace {

struct Work {
  int64_t units;
  void (*unit)(const void* data, int64_t index, int64_t worker);
  const void* data;
  std::atomic<int64_t> next_unit{0}, next_worker{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error{};  // of the one that failed first

  void run() noexcept {
    const int64_t worker = next_worker++;
    try {
      for (int64_t index = next_unit++; index < units; index = next_unit++) unit(data, index, worker);
    } catch (...) {
      next_unit = units;
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
};

struct Tasks {
  void (*task)(void* data, size_t index);
  void* data;
  std::atomic<size_t> next{0};
};

// The function by which compiled OpenMP programs start a team; GNU's, LLVM's and Intel's runtimes have it.
using StartTeam = void (*)(void (*run)(void*), void* data, unsigned threads, unsigned flags);

void run_in_process_threads(const void*, size_t n, void (*task)(void* data, size_t index), void* data) {
  // PyTorch's idle OpenMP threads keep their cores busy for milliseconds: threads of our own would have to share those.
  if (void* symbol = dlsym(RTLD_DEFAULT, "GOMP_parallel")) {
    Tasks tasks{task, data};
    const auto run = [](void* shared) {
      Tasks* const all = static_cast<Tasks*>(shared);
      all->task(all->data, all->next++);
    };
    reinterpret_cast<StartTeam>(symbol)(run, &tasks, static_cast<unsigned>(n), 0);
    return;
  }
  std::vector<std::thread> others;
  others.reserve(n);
  for (size_t index = 1; index < n; ++index) {
    try {
      others.emplace_back(task, data, index);
    } catch (const std::exception&) {
      break;  // no more threads to be had: the others do it all
    }
  }
  task(data, 0);
  for (std::thread& other : others) other.join();
}

}  // namespace

const ThreadPool kProcessThreads{run_in_process_threads, nullptr};

int64_t useful_threads(int64_t wanted, int64_t units, int64_t elements) {
  return std::max<int64_t>(1, std::min({wanted, units, 1 + elements / kElementsPerThread}));
}

void share_units(int64_t units, int64_t threads, void (*unit)(const void* data, int64_t index, int64_t worker),
                 const void* data, const ThreadPool& pool) {
  Work work{units, unit, data};
  if (threads <= 1) {
    work.run();
  } else {
    const auto task = [](void* shared, size_t) { static_cast<Work*>(shared)->run(); };
    pool.run(pool.pool, static_cast<size_t>(threads), task, &work);
  }
  if (work.failed) std::rethrow_exception(work.error);
}

}  // namespace recblr
