// The forward passes on the CPU, in threads of the caller's.
#pragma once

#include "cpu/parallel.h"
#include "recblr/plugins.h"

namespace recblr {

// As the functions of the C ABI: small batches are done in the calling thread, others as at most n_threads tasks.
int gated_scan_forward(const recblr_gated_scan& arguments, const ThreadPool& threads) noexcept;
int causal_conv1d_forward(const recblr_causal_conv1d& arguments, const ThreadPool& threads) noexcept;

}  // namespace recblr
