#include "cpu/instruction_set.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "backends/catalogue.h"
#include "base/error.h"

namespace recblr {
namespace {

TEST(InstructionSet, OfAnotherNameIsRefused) {
  setenv("RECBLR_CPU_ISA", "mmx", 1);
  const std::vector<float> embedding(4, 1.0f);
  try {
    Catalogue(embedding.data(), 1, 2, 2, 1);
    FAIL() << "mmx is no choice";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    EXPECT_STREQ(error.what(), "RECBLR_CPU_ISA names no instruction set: give baseline, avx2 or avx512, or unset it");
  }
  unsetenv("RECBLR_CPU_ISA");
  EXPECT_NO_THROW(Catalogue(embedding.data(), 1, 2, 2, 1));
}

}  // namespace
}  // namespace recblr
