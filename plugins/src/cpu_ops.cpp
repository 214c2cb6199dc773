// The CPU functions of the C ABI: check arguments, choose kernels, share the units of work among threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "cpu_kernels.h"
#include "cpu_ops.h"
#include "ragged.h"
#include "status.h"

namespace recblr {

namespace {

// Below so many token-channels a thread costs more than it gains.
constexpr int64_t kWorkPerThread = 32768;

Kernels best_kernels(int32_t dtype) {
#if defined(RECBLR_X86)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return avx512::kernels(dtype);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::kernels(dtype);
#endif
  return baseline::kernels(dtype);
}

// The threads of a caller that has none: made for the call.
void run_in_new_threads(const void*, size_t n, void (*task)(void* data, size_t index), void* data) {
  std::vector<std::thread> others;
  others.reserve(n);
  for (size_t index = 1; index < n; ++index) {
    try {
      others.emplace_back(task, data, index);
    } catch (const std::exception&) {
      break;  // no more threads to be had: the others do it all
    }
  }
  task(data, 0);
  for (std::thread& other : others) other.join();
}

constexpr ThreadPool kNewThreads{run_in_new_threads, nullptr};

// Calls unit(index, worker) for every index below `units`, with `workers` workers; whoever is free takes the next.
template <typename Unit>
void in_parallel(int64_t units, int64_t workers, const ThreadPool& threads, const Unit& unit) {
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t worker) {
    for (int64_t index = next++; index < units; index = next++) unit(index, worker);
  };
  if (workers == 1) return work(0);
  const auto task = [](void* data, size_t worker) {
    (*static_cast<decltype(work)*>(data))(static_cast<int64_t>(worker));
  };
  threads.run(threads.pool, static_cast<size_t>(workers), task, &work);
}

template <typename Arguments>
std::string problem_with(const Arguments& a) {
  if (a.n_tokens < 0 || a.n_rows < 0 || a.width < 1) {
    return "n_tokens is " + std::to_string(a.n_tokens) + ", n_rows " + std::to_string(a.n_rows) + ", width " +
           std::to_string(a.width) + ": the first two must be at least 0, the last at least 1";
  }
  if (a.dtype != RECBLR_FLOAT32 && a.dtype != RECBLR_FLOAT16 && a.dtype != RECBLR_BFLOAT16) {
    return "dtype is " + std::to_string(a.dtype) + ": it must be float32, float16 or bfloat16";
  }
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
  int64_t blocks, units, workers;
};

template <typename Arguments>
Plan plan_for(const Arguments& a) {
  const Kernels kernels = best_kernels(a.dtype);
  const int64_t blocks = (a.width + kernels.block - 1) / kernels.block;
  const int64_t units = blocks * a.n_rows;
  const int64_t useful = 1 + a.n_tokens * a.width / kWorkPerThread;
  const int64_t workers = std::max<int64_t>(1, std::min({static_cast<int64_t>(a.n_threads), units, useful}));
  return {kernels, blocks, units, workers};
}

// Calls kernel(row, first channel, channels, worker) for every unit.
template <typename Kernel>
void for_each_unit(const Plan& plan, int64_t width, const ThreadPool& threads, const Kernel& kernel) {
  in_parallel(plan.units, plan.workers, threads, [&](int64_t unit, int64_t worker) {
    const int64_t first = unit % plan.blocks * plan.kernels.block;
    kernel(unit / plan.blocks, first, std::min(plan.kernels.block, width - first), worker);
  });
}

// Sums rows [B, n] in their order, whatever thread made them.
void sum_rows(const std::vector<float>& rows, int64_t n, float* sum) {
  std::vector<double> total(static_cast<size_t>(n), 0.0);
  for (size_t at = 0; at < rows.size(); ++at) total[at % total.size()] += rows[at];
  std::copy(total.begin(), total.end(), sum);
}

template <typename Arguments, typename Body>
int guarded(const Arguments* arguments, const Body& body, const ThreadPool& threads = kNewThreads) noexcept {
  try {
    if (arguments == nullptr) return fail(RECBLR_INVALID_ARGUMENT, "the arguments are NULL");
    const std::string problem = problem_with(*arguments);
    if (!problem.empty()) return fail(RECBLR_INVALID_ARGUMENT, problem);
    return body(*arguments, threads);
  } catch (const std::bad_alloc&) {
    return fail(RECBLR_OUT_OF_MEMORY, "out of memory for the backward pass's sums");
  }
}

int scan_forward(const recblr_gated_scan& a, const ThreadPool& threads) {
  const Plan plan = plan_for(a);
  for_each_unit(plan, a.width, threads, [&](int64_t row, int64_t first, int64_t count, int64_t) {
    plan.kernels.scan_forward(a, row, first, count);
  });
  return RECBLR_OK;
}

int scan_backward(const recblr_gated_scan& a, const ThreadPool& threads) {
  const Plan plan = plan_for(a);
  std::vector<float> grad_rate(static_cast<size_t>(a.n_rows * a.width));
  for_each_unit(plan, a.width, threads, [&](int64_t row, int64_t first, int64_t count, int64_t) {
    plan.kernels.scan_backward(a, row, first, count, grad_rate.data());
  });
  sum_rows(grad_rate, a.width, a.grad_decay);
  for (int64_t c = 0; c < a.width; ++c) a.grad_decay[c] /= 1.0f + std::exp(-a.decay[c]);  // of softplus
  return RECBLR_OK;
}

int conv_forward(const recblr_causal_conv1d& a, const ThreadPool& threads) {
  if (a.taps < 1) return fail(RECBLR_INVALID_ARGUMENT, "taps is " + std::to_string(a.taps) + ": give at least 1");
  const Plan plan = plan_for(a);
  const int64_t scratch_size = a.taps * plan.kernels.block;
  std::vector<float> scratch(static_cast<size_t>(plan.workers * scratch_size));
  for_each_unit(plan, a.width, threads, [&](int64_t row, int64_t first, int64_t count, int64_t worker) {
    plan.kernels.conv_forward(a, row, first, count, scratch.data() + worker * scratch_size);
  });
  return RECBLR_OK;
}

int conv_backward(const recblr_causal_conv1d& a, const ThreadPool& threads) {
  if (a.taps < 1) return fail(RECBLR_INVALID_ARGUMENT, "taps is " + std::to_string(a.taps) + ": give at least 1");
  const Plan plan = plan_for(a);
  const int64_t scratch_size = 2 * a.taps * plan.kernels.block;
  std::vector<float> scratch(static_cast<size_t>(plan.workers * scratch_size));
  std::vector<float> grad_weight(static_cast<size_t>(a.n_rows * a.taps * a.width));
  std::vector<float> grad_bias(static_cast<size_t>(a.n_rows * a.width));
  for_each_unit(plan, a.width, threads, [&](int64_t row, int64_t first, int64_t count, int64_t worker) {
    plan.kernels.conv_backward(a, row, first, count, scratch.data() + worker * scratch_size, grad_weight.data(),
                               grad_bias.data());
  });
  std::vector<float> by_tap(static_cast<size_t>(a.taps * a.width));
  sum_rows(grad_weight, a.taps * a.width, by_tap.data());
  for (int64_t c = 0; c < a.width; ++c) {
    for (int64_t tap = 0; tap < a.taps; ++tap) a.grad_weight[c * a.taps + tap] = by_tap[tap * a.width + c];
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
