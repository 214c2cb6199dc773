// Chooses the kernels of one instruction set.
#include <cstdlib>
#include <cstring>

#include "cpu_kernels.h"

namespace recblr {

bool best_kernels(int32_t dtype, Kernels* kernels) {
  const char* const names[] = {"baseline", "avx2", "avx512"};
  const char* limit = std::getenv("RECBLR_CPU_ISA");
  int most = limit == nullptr ? 2 : -1;
  for (int set = 0; limit != nullptr && set < 3; ++set) {
    if (std::strcmp(limit, names[set]) == 0) most = set;
  }
  if (most < 0) return false;
#if defined(RECBLR_X86)
  if (most >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    *kernels = avx512::kernels(dtype);
    return true;
  }
  if (most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    *kernels = avx2::kernels(dtype);
    return true;
  }
#endif
  *kernels = baseline::kernels(dtype);
  return true;
}

}  // namespace recblr
