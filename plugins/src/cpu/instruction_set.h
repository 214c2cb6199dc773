// Which of the machine's instruction sets the CPU kernels use.
#pragma once

namespace recblr {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// The best that the machine has and the environment variable RECBLR_CPU_ISA allows, which is read anew at every call.
// Throws std::invalid_argument if the variable names none.
InstructionSet instruction_set();

// One function, as compiled for each of them.
template <typename Function>
struct PerInstructionSet {
  Function *baseline, *avx2, *avx512;
};

#if defined(RECBLR_X86)
#define RECBLR_PER_INSTRUCTION_SET(function) {baseline::function, avx2::function, avx512::function}
#else
#define RECBLR_PER_INSTRUCTION_SET(function) {baseline::function, nullptr, nullptr}
#endif

// The one for instruction_set(), which throws.
template <typename Function>
Function* best_of(const PerInstructionSet<Function>& functions) {
  switch (instruction_set()) {
    case InstructionSet::kAvx512:
      return functions.avx512;
    case InstructionSet::kAvx2:
      return functions.avx2;
    default:
      return functions.baseline;
  }
}

}  // namespace recblr
