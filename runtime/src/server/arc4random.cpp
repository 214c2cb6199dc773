// GCC's static C++ library takes arc4random from the C library, which has it from 2.36 on only. With this one the
// executable runs where that is older, too.
#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

extern "C" uint32_t arc4random() noexcept {
  uint32_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) std::abort();  // up to 256 bytes come at once
  return number;
}
