// The scan and the convolution on the CPU: check arguments, share the units of work among threads.
#include "cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <vector>

#include "cpu_kernels.h"
#include "ragged.h"
#include "status.h"

namespace recblr {

namespace {

template <typename Arguments>
std::string problem_with(const Arguments& a) {
  if (a.n_tokens < 0 || a.n_rows < 0 || a.width < 1) {
    return "n_tokens is " + std::to_string(a.n_tokens) + ", n_rows " + std::to_string(a.n_rows) + ", width " +
           std::to_string(a.width) + ": the first two must be at least 0, the last at least 1";
  }
  if (!is_data_type(a.dtype)) return unknown_data_type(a.dtype);
  if (a.offsets == nullptr) return "offsets is NULL";
  if (a.offsets_type != RECBLR_INT64 && a.offsets_type != RECBLR_INT32) {
    return "offsets_type is " + std::to_string(a.offsets_type) + ": it must be int64 or int32";
  }
  const int64_t first = offset(a, 0), last = offset(a, a.n_rows);
  if (first != 0 || last != a.n_tokens) {
    return "offsets go from " + std::to_string(first) + " to " + std::to_string(last) +
           ": they must go from 0 to n_tokens = " + std::to_string(a.n_tokens);
  }
  for (int64_t row = 0; row < a.n_rows; ++row) {
    if (offset(a, row + 1) < offset(a, row)) return "offsets fall after row " + std::to_string(row);
  }
  return "";
}

struct Plan {
  Kernels kernels;
  int64_t blocks, units, threads;
  const ThreadPool& pool;
};

template <typename Arguments>
Plan plan_for(const Arguments& a, const Kernels& kernels, const ThreadPool& pool) {
  const int64_t blocks = (a.width + kernels.block - 1) / kernels.block;
  const int64_t units = blocks * a.n_rows;
  return {kernels, blocks, units, useful_threads(a.n_threads, units, a.n_tokens * a.width), pool};
}

// Calls kernel(row, first channel, channels, worker) for every unit.
template <typename Kernel>
void for_each_unit(const Plan& plan, int64_t width, const Kernel& kernel) {
  in_parallel(
      plan.units, plan.threads,
      [&](int64_t unit, int64_t worker) {
        const int64_t first = unit % plan.blocks * plan.kernels.block;
        kernel(unit / plan.blocks, first, std::min(plan.kernels.block, width - first), worker);
      },
      plan.pool);
}

// Sums rows [B, n] in their order, whatever thread made them.
void sum_rows(const std::vector<float>& rows, int64_t n, float* sum) {
  std::vector<double> total(static_cast<size_t>(n), 0.0);
  for (size_t row = 0; row < rows.size(); row += total.size()) {
    for (size_t at = 0; at < total.size(); ++at) total[at] += rows[row + at];
  }
  std::copy(total.begin(), total.end(), sum);
}

template <typename Arguments, typename Body>
int guarded(const Arguments* arguments, const Body& body, const ThreadPool& pool = kProcessThreads) noexcept {
  try {
    if (arguments == nullptr) return fail(RECBLR_INVALID_ARGUMENT, "the arguments are NULL");
    const std::string problem = problem_with(*arguments);
    if (!problem.empty()) return fail(RECBLR_INVALID_ARGUMENT, problem);
    Kernels kernels;
    if (!best_kernels(arguments->dtype, &kernels)) return fail(RECBLR_INVALID_ARGUMENT, kUnknownIsa);
    return body(*arguments, plan_for(*arguments, kernels, pool));
  } catch (const std::bad_alloc&) {
    return fail(RECBLR_OUT_OF_MEMORY, "out of memory for the backward pass's sums");
  }
}

int scan_forward(const recblr_gated_scan& a, const Plan& plan) {
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t) {
    plan.kernels.scan_forward(a, row, first, count);
  });
  return RECBLR_OK;
}

int scan_backward(const recblr_gated_scan& a, const Plan& plan) {
  std::vector<float> grad_rate(static_cast<size_t>(a.n_rows * a.width));
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t) {
    plan.kernels.scan_backward(a, row, first, count, grad_rate.data());
  });
  sum_rows(grad_rate, a.width, a.grad_decay);
  for (int64_t c = 0; c < a.width; ++c) a.grad_decay[c] /= 1.0f + std::exp(-a.decay[c]);  // of softplus
  return RECBLR_OK;
}

// The weight as [K, H], so that a tap's channels lie side by side.
std::vector<float> by_tap(const recblr_causal_conv1d& a) {
  std::vector<float> weight(static_cast<size_t>(a.taps * a.width));
  for (int64_t c = 0; c < a.width; ++c) {
    for (int64_t tap = 0; tap < a.taps; ++tap) weight[tap * a.width + c] = a.weight[c * a.taps + tap];
  }
  return weight;
}

int conv_forward(const recblr_causal_conv1d& a, const Plan& plan) {
  if (a.taps < 1) return fail(RECBLR_INVALID_ARGUMENT, "taps is " + std::to_string(a.taps) + ": give at least 1");
  const std::vector<float> weight = by_tap(a);
  const int64_t scratch_size = a.taps * plan.kernels.block;
  std::vector<float> scratch(static_cast<size_t>(plan.threads * scratch_size));
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t worker) {
    plan.kernels.conv_forward(a, row, first, count, weight.data(), scratch.data() + worker * scratch_size);
  });
  return RECBLR_OK;
}

int conv_backward(const recblr_causal_conv1d& a, const Plan& plan) {
  if (a.taps < 1) return fail(RECBLR_INVALID_ARGUMENT, "taps is " + std::to_string(a.taps) + ": give at least 1");
  const std::vector<float> weight = by_tap(a);
  const int64_t scratch_size = 3 * a.taps * plan.kernels.block;
  std::vector<float> scratch(static_cast<size_t>(plan.threads * scratch_size));
  std::vector<float> grad_weight(static_cast<size_t>(a.n_rows * a.taps * a.width));
  std::vector<float> grad_bias(static_cast<size_t>(a.n_rows * a.width));
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t worker) {
    plan.kernels.conv_backward(a, row, first, count, weight.data(), scratch.data() + worker * scratch_size,
                               grad_weight.data(), grad_bias.data());
  });
  std::vector<float> sum_by_tap(static_cast<size_t>(a.taps * a.width));
  sum_rows(grad_weight, a.taps * a.width, sum_by_tap.data());
  for (int64_t c = 0; c < a.width; ++c) {
    for (int64_t tap = 0; tap < a.taps; ++tap) a.grad_weight[c * a.taps + tap] = sum_by_tap[tap * a.width + c];
  }
  sum_rows(grad_bias, a.width, a.grad_bias);
  return RECBLR_OK;
}

}  // namespace

int gated_scan_forward(const recblr_gated_scan& arguments, const ThreadPool& threads) noexcept {
  return guarded(&arguments, scan_forward, threads);
}

int causal_conv1d_forward(const recblr_causal_conv1d& arguments, const ThreadPool& threads) noexcept {
  return guarded(&arguments, conv_forward, threads);
}

}  // namespace recblr

extern "C" int recblr_gated_scan_forward_cpu(const recblr_gated_scan* arguments) {
  return recblr::guarded(arguments, recblr::scan_forward);
}

extern "C" int recblr_gated_scan_backward_cpu(const recblr_gated_scan* arguments) {
  return recblr::guarded(arguments, recblr::scan_backward);
}

extern "C" int recblr_causal_conv1d_forward_cpu(const recblr_causal_conv1d* arguments) {
  return recblr::guarded(arguments, recblr::conv_forward);
}

extern "C" int recblr_causal_conv1d_backward_cpu(const recblr_causal_conv1d* arguments) {
  return recblr::guarded(arguments, recblr::conv_backward);
}
