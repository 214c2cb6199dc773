#include "cpu/instruction_set.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace recblr {

InstructionSet instruction_set() {
  const char* const names[] = {"baseline", "avx2", "avx512"};
  const char* limit = std::getenv("RECBLR_CPU_ISA");
  int most = limit == nullptr ? 2 : -1;
  for (int set = 0; limit != nullptr && set < 3; ++set) {
    if (std::strcmp(limit, names[set]) == 0) most = set;
  }
  if (most < 0) {
    throw std::invalid_argument("RECBLR_CPU_ISA names no instruction set: give baseline, avx2 or avx512, or unset it");
  }
#if defined(RECBLR_X86)
  if (most >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return InstructionSet::kAvx512;
  }
  if (most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kBaseline;
}

}  // namespace recblr
