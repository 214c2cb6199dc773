// Chooses the instruction set.
#include <cstdlib>
#include <cstring>

#include "cpu_kernels.h"

namespace recblr {

InstructionSet instruction_set() {
  const char* const names[] = {"baseline", "avx2", "avx512"};
  const char* limit = std::getenv("RECBLR_CPU_ISA");
  int most = limit == nullptr ? 2 : -1;
  for (int set = 0; limit != nullptr && set < 3; ++set) {
    if (std::strcmp(limit, names[set]) == 0) most = set;
  }
  if (most < 0) return InstructionSet::kUnknown;
#if defined(RECBLR_X86)
  if (most >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return InstructionSet::kAvx512;
  }
  if (most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kBaseline;
}

bool best_kernels(int32_t dtype, Kernels* kernels) {
  Kernels (*const of_set)(int32_t) = best_of<Kernels(int32_t)>(RECBLR_PER_INSTRUCTION_SET(kernels));
  if (of_set == nullptr) return false;
  *kernels = of_set(dtype);
  return true;
}

}  // namespace recblr
