// What only training needs, on the CPU: dropout and the cross-entropy of a chunk of logits.
#include "abi/arguments.h"
#include "abi/guarded.h"
#include "cpu/parallel.h"
#include "sequence/kernels.h"

extern "C" int recblr_dropout_cpu(const recblr_dropout* arguments) {
  using namespace recblr;
  return guarded("out of memory", [&] {
    const recblr_dropout& a = checked(arguments);
    const Kernels kernels = best_kernels(a.dtype);
    const int64_t chunks = (a.n_elements + kDropoutChunk - 1) / kDropoutChunk;
    in_parallel(chunks, useful_threads(a.n_threads, chunks, a.n_elements),
                [&](int64_t chunk, int64_t) { kernels.dropout(a, chunk); });
    return RECBLR_OK;
  });
}

extern "C" int recblr_cross_entropy_cpu(const recblr_cross_entropy* arguments) {
  using namespace recblr;
  return guarded("out of memory", [&] {
    const recblr_cross_entropy& a = checked(arguments);
    const Kernels kernels = best_kernels(a.dtype);
    in_parallel(a.n_rows, useful_threads(a.n_threads, a.n_rows, a.n_rows * a.width),
                [&](int64_t row, int64_t) { kernels.cross_entropy(a, row); });
    return RECBLR_OK;
  });
}
