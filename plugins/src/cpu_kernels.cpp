// Compiled once per instruction set, with RECBLR_ISA its namespace.
#include "cpu_kernels.h"

#include <math.h>

#include "ragged.h"

// Within the namespace, so that no function compiled for one set is taken for another's by the linker. For that reason,
// nothing of namespace std is used either.
#define RECBLR_SCALAR_NAMESPACE RECBLR_ISA
#include "scalar_math.h"

namespace recblr {
namespace RECBLR_ISA {

namespace {

inline float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

}  // namespace

#include "cpu_kernels.inc"

}  // namespace RECBLR_ISA
}  // namespace recblr
