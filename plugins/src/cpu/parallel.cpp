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
  const std::function<void(int64_t, int64_t)>& unit;
  std::atomic<int64_t> next_unit{0}, next_worker{0};

  void run() {
    const int64_t worker = next_worker++;
    for (int64_t index = next_unit++; index < units; index = next_unit++) unit(index, worker);
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

void in_parallel(int64_t units, int64_t threads, const std::function<void(int64_t, int64_t)>& unit,
                 const ThreadPool& pool) {
  Work work{units, unit};
  if (threads <= 1) {
    work.run();
    return;
  }
  const auto task = [](void* data, size_t) { static_cast<Work*>(data)->run(); };
  pool.run(pool.pool, static_cast<size_t>(threads), task, &work);
}

}  // namespace recblr
