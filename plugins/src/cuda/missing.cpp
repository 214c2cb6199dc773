// The CUDA functions of a build without CUDA.
#include "abi/status.h"
#include "recblr/plugins.h"

namespace {

int missing() {
  return recblr::fail(RECBLR_UNSUPPORTED,
                      "this librecblr_plugins.so was built without CUDA: install nvcc and reinstall recblr");
}

}  // namespace

extern "C" {

const char* recblr_cuda_architectures(void) { return ""; }

int recblr_gated_scan_forward_cuda(const recblr_gated_scan*, void*) { return missing(); }
int recblr_gated_scan_backward_cuda(const recblr_gated_scan*, void*, void*) { return missing(); }
int recblr_causal_conv1d_forward_cuda(const recblr_causal_conv1d*, void*) { return missing(); }
int recblr_causal_conv1d_backward_cuda(const recblr_causal_conv1d*, void*, void*) { return missing(); }
int recblr_gather_state_cuda(const recblr_state_move*, void*) { return missing(); }
int recblr_scatter_state_cuda(const recblr_state_move*, void*) { return missing(); }
int64_t recblr_gated_scan_workspace_cuda(const recblr_gated_scan*) { return 0; }
int64_t recblr_causal_conv1d_workspace_cuda(const recblr_causal_conv1d*) { return 0; }

}  // extern "C"
