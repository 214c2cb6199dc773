// The scan and the convolution on the CPU: check arguments, share the units of work among threads.
#include "sequence/ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "abi/arguments.h"
#include "abi/guarded.h"
#include "cpu/instruction_set.h"
#include "sequence/kernels.h"

namespace recblr {

Kernels best_kernels(int32_t dtype) { return best_of<Kernels(int32_t)>(RECBLR_PER_INSTRUCTION_SET(kernels))(dtype); }

namespace {

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

// Checks the arguments and calls body(arguments, plan); returns a status.
template <typename Arguments, typename Body>
int run(const Arguments* arguments, const Body& body, const ThreadPool& pool = kProcessThreads) noexcept {
  return guarded("out of memory for the convolution's weight or the backward pass's sums", [&] {
    const Arguments& a = checked_on_host(arguments);
    body(a, plan_for(a, best_kernels(a.dtype), pool));
    return RECBLR_OK;
  });
}

void scan_forward(const recblr_gated_scan& a, const Plan& plan) {
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t) {
    plan.kernels.scan_forward(a, row, first, count);
  });
}

void scan_backward(const recblr_gated_scan& a, const Plan& plan) {
  std::vector<float> grad_rate(static_cast<size_t>(a.n_rows * a.width));
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t) {
    plan.kernels.scan_backward(a, row, first, count, grad_rate.data());
  });
  sum_rows(grad_rate, a.width, a.grad_decay);
  for (int64_t c = 0; c < a.width; ++c) a.grad_decay[c] /= 1.0f + std::exp(-a.decay[c]);  // of softplus
}

// The weight as [K, H], so that a tap's channels lie side by side.
std::vector<float> by_tap(const recblr_causal_conv1d& a) {
  std::vector<float> weight(static_cast<size_t>(a.taps * a.width));
  for (int64_t c = 0; c < a.width; ++c) {
    for (int64_t tap = 0; tap < a.taps; ++tap) weight[tap * a.width + c] = a.weight[c * a.taps + tap];
  }
  return weight;
}

void conv_forward(const recblr_causal_conv1d& a, const Plan& plan) {
  const std::vector<float> weight = by_tap(a);
  const int64_t scratch_size = a.taps * plan.kernels.block;
  std::vector<float> scratch(static_cast<size_t>(plan.threads * scratch_size));
  for_each_unit(plan, a.width, [&](int64_t row, int64_t first, int64_t count, int64_t worker) {
    plan.kernels.conv_forward(a, row, first, count, weight.data(), scratch.data() + worker * scratch_size);
  });
}

void conv_backward(const recblr_causal_conv1d& a, const Plan& plan) {
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
}

}  // namespace

int gated_scan_forward(const recblr_gated_scan& arguments, const ThreadPool& threads) noexcept {
  return run(&arguments, scan_forward, threads);
}

int causal_conv1d_forward(const recblr_causal_conv1d& arguments, const ThreadPool& threads) noexcept {
  return run(&arguments, conv_forward, threads);
}

}  // namespace recblr

extern "C" int recblr_gated_scan_forward_cpu(const recblr_gated_scan* arguments) {
  return recblr::run(arguments, recblr::scan_forward);
}

extern "C" int recblr_gated_scan_backward_cpu(const recblr_gated_scan* arguments) {
  return recblr::run(arguments, recblr::scan_backward);
}

extern "C" int recblr_causal_conv1d_forward_cpu(const recblr_causal_conv1d* arguments) {
  return recblr::run(arguments, recblr::conv_forward);
}

extern "C" int recblr_causal_conv1d_backward_cpu(const recblr_causal_conv1d* arguments) {
  return recblr::run(arguments, recblr::conv_backward);
}
