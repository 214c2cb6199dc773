#include "parallel.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace recblr {

namespace {

// Below so many elements a thread costs more than it gains.
constexpr int64_t kElementsPerThread = 32768;

struct Work {
  int64_t units;
  const std::function<void(int64_t, int64_t)>& unit;
  std::atomic<int64_t> next_unit{0}, next_worker{0};

  void run() {
    const int64_t worker = next_worker++;
    for (int64_t index = next_unit++; index < units; index = next_unit++) unit(index, worker);
  }
};

// The function by which compiled OpenMP programs start a team; GNU's, LLVM's and Intel's runtimes have it.
using StartTeam = void (*)(void (*run)(void*), void* data, unsigned threads, unsigned flags);

}  // namespace

int64_t useful_threads(int64_t wanted, int64_t units, int64_t elements) {
  return std::max<int64_t>(1, std::min({wanted, units, 1 + elements / kElementsPerThread}));
}

void in_parallel(int64_t units, int64_t threads, const std::function<void(int64_t, int64_t)>& unit) {
  Work work{units, unit};
  if (threads <= 1) {
    work.run();
    return;
  }
  // PyTorch's idle OpenMP threads keep their cores busy for milliseconds: threads of our own would have to share those.
  if (void* symbol = dlsym(RTLD_DEFAULT, "GOMP_parallel")) {
    reinterpret_cast<StartTeam>(symbol)([](void* data) { static_cast<Work*>(data)->run(); }, &work,
                                        static_cast<unsigned>(threads), 0);
    return;
  }
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads));
  for (int64_t other = 1; other < threads; ++other) {
    try {
      others.emplace_back([&work] { work.run(); });
    } catch (const std::exception&) {
      break;  // no more threads to be had: the others do it all
    }
  }
  work.run();
  for (std::thread& other : others) other.join();
}

}  // namespace recblr
