// Which of the machine's instruction sets the CPU kernels use.
#pragma once

namespace recblr {

enum class InstructionSet { kUnknown, kBaseline, kAvx2, kAvx512 };

// The best that the machine has and the environment variable RECBLR_CPU_ISA allows; kUnknown if that has another value.
InstructionSet instruction_set();

// What one function is called for each of them.
template <typename Function>
struct PerInstructionSet {
  Function *baseline, *avx2, *avx512;
};

#if defined(RECBLR_X86)
#define RECBLR_PER_INSTRUCTION_SET(function) {baseline::function, avx2::function, avx512::function}
#else
#define RECBLR_PER_INSTRUCTION_SET(function) {baseline::function, nullptr, nullptr}
#endif

// That of instruction_set(); NULL if it is unknown.
template <typename Function>
Function* best_of(const PerInstructionSet<Function>& functions) {
  switch (instruction_set()) {
    case InstructionSet::kAvx512:
      return functions.avx512;
    case InstructionSet::kAvx2:
      return functions.avx2;
    case InstructionSet::kBaseline:
      return functions.baseline;
    default:
      return nullptr;
  }
}

// What recblr_last_error says then.
constexpr char kUnknownIsa[] = "RECBLR_CPU_ISA names no instruction set: give baseline, avx2 or avx512, or unset it";

}  // namespace recblr
