// What only training needs, on the CPU: dropout and the cross-entropy of a chunk of logits.
#include <string>

#include "cpu_kernels.h"
#include "parallel.h"
#include "status.h"

namespace recblr {

namespace {

std::string problem_with(const recblr_dropout& a) {
  if (a.n_elements < 0) return "n_elements is " + std::to_string(a.n_elements) + ": give at least 0";
  if (!(a.p >= 0.0f && a.p < 1.0f)) return "p is " + std::to_string(a.p) + ": give at least 0 and less than 1";
  if (a.n_elements > 0 && (a.x == nullptr || a.y == nullptr)) return "x or y is NULL";
  return "";
}

std::string problem_with(const recblr_cross_entropy& a) {
  if (a.n_rows < 0 || a.width < 2) {
    return "n_rows is " + std::to_string(a.n_rows) + ", width " + std::to_string(a.width) +
           ": the first must be at least 0, the second at least 2";
  }
  if (a.n_rows > 0 && (a.logits == nullptr || a.targets == nullptr || a.losses == nullptr)) {
    return "logits, targets or losses is NULL";
  }
  for (int64_t row = 0; row < a.n_rows; ++row) {
    if (a.targets[row] < 1 || a.targets[row] >= a.width) {
      return "target " + std::to_string(a.targets[row]) + " of row " + std::to_string(row) + " is not from 1 to " +
             std::to_string(a.width - 1);
    }
  }
  return "";
}

template <typename Arguments, typename Body>
int guarded(const Arguments* arguments, const Body& body) noexcept {
  try {
    if (arguments == nullptr) return fail(RECBLR_INVALID_ARGUMENT, "the arguments are NULL");
    std::string problem = problem_with(*arguments);
    if (!is_data_type(arguments->dtype)) problem = unknown_data_type(arguments->dtype);
    if (!problem.empty()) return fail(RECBLR_INVALID_ARGUMENT, problem);
    Kernels kernels;
    if (!best_kernels(arguments->dtype, &kernels)) return fail(RECBLR_INVALID_ARGUMENT, kUnknownIsa);
    body(*arguments, kernels);
    return RECBLR_OK;
  } catch (const std::exception&) {
    return fail(RECBLR_OUT_OF_MEMORY, "out of memory");
  }
}

}  // namespace

}  // namespace recblr

extern "C" int recblr_dropout_cpu(const recblr_dropout* arguments) {
  return recblr::guarded(arguments, [](const recblr_dropout& a, const recblr::Kernels& kernels) {
    const int64_t chunks = (a.n_elements + recblr::kDropoutChunk - 1) / recblr::kDropoutChunk;
    recblr::in_parallel(chunks, recblr::useful_threads(a.n_threads, chunks, a.n_elements),
                        [&](int64_t chunk, int64_t) { kernels.dropout(a, chunk); });
  });
}

extern "C" int recblr_cross_entropy_cpu(const recblr_cross_entropy* arguments) {
  return recblr::guarded(arguments, [](const recblr_cross_entropy& a, const recblr::Kernels& kernels) {
    recblr::in_parallel(a.n_rows, recblr::useful_threads(a.n_threads, a.n_rows, a.n_rows * a.width),
                        [&](int64_t row, int64_t) { kernels.cross_entropy(a, row); });
  });
}
