// Loads the plugin library as TensorRT would and calls all of it, with no TensorRT.
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "host_checks.h"

namespace {

constexpr const char* kUsage =
    "usage: recblr_plugin_host LIBRARY [--gpu]\n"
    "Checks the TensorRT plugins of librecblr_plugins.so: creators, serialization, every method that TensorRT calls\n"
    "at build time; with --gpu the results too: alone, under CUDA graphs, and from several threads at once.\n";

int check_all(const char* path, bool gpu) {
  if (gpu) {
#if defined(RECBLR_HOST_CUDA)
    host::require_gpu();
#else
    std::fprintf(stderr, "--gpu: this program was built without CUDA: install the CUDA toolkit and build it again\n");
    return 1;
#endif
  }
  host::Checks checks;
  const host::Library library(path);
  host::check_creators(library, checks);
  if (checks.all_passed()) {  // everything else makes plugins
    const std::vector<host::Case> cases = host::all_cases(1);
    host::check_loggers(library, checks);
    host::check_refusals(library, checks);
    host::check_serialization(library, cases, checks);
    host::check_build_methods(library, cases, checks);
    host::check_reference(library, cases, checks);
    host::check_enqueue_without_cuda(library, checks);
#if defined(RECBLR_HOST_CUDA)
    if (gpu) host::check_enqueue(library, checks);
#endif
  }
  return checks.summary();
}

}  // namespace

int main(int argc, char** argv) {
  const bool gpu = argc == 3 && std::strcmp(argv[2], "--gpu") == 0;
  if (argc != 2 && !gpu) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  try {
    return check_all(argv[1], gpu);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
