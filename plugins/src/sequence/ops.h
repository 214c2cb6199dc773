// The forward passes on the CPU for those inside the library who bring their own threads.
#pragma once

#include "cpu/parallel.h"
#include "recblr/plugins.h"

namespace recblr {

// As recblr_gated_scan_forward_cpu and recblr_causal_conv1d_forward_cpu, in `threads`: small batches are done by the
// calling thread, others as at most n_threads tasks. Return a status, and throw nothing.
int gated_scan_forward(const recblr_gated_scan& arguments, const ThreadPool& threads) noexcept;
int causal_conv1d_forward(const recblr_causal_conv1d& arguments, const ThreadPool& threads) noexcept;

}  // namespace recblr
