#include "base/cpus.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

#include "base/cgroup.h"

namespace recblr {

namespace {

int affinity_cpus() {
  // A machine may have more CPUs than a cpu_set_t: the call then says so, and needs a larger one.
  for (size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    const size_t bytes = sets * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int usable_cpus() {
  const int cpus = std::max(1, affinity_cpus());
  const double quota = std::ceil(cgroup_cpus(""));
  return quota < cpus ? std::max(1, static_cast<int>(quota)) : cpus;
}

}  // namespace recblr
