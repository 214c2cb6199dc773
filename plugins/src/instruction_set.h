// Which of the machine's instruction sets the CPU kernels use.
#pragma once

namespace recblr {

enum class InstructionSet { kUnknown, kBaseline, kAvx2, kAvx512 };

// The best that the machine has and the environment variable RECBLR_CPU_ISA allows; kUnknown if that has another value.
InstructionSet instruction_set();

// What recblr_last_error says then.
constexpr char kUnknownIsa[] = "RECBLR_CPU_ISA names no instruction set: give baseline, avx2 or avx512, or unset it";

}  // namespace recblr
