// The checks, by what they need.
#pragma once

#include <vector>

#include "cases.h"
#include "checks.h"
#include "library.h"

namespace host {

// Nothing but the library.
void check_creators(const Library& library, Checks& checks);
void check_loggers(const Library& library, Checks& checks);
void check_serialization(const Library& library, const std::vector<Case>& cases, Checks& checks);
void check_build_methods(const Library& library, const std::vector<Case>& cases, Checks& checks);
void check_refusals(const Library& library, Checks& checks);

// The expected results against the library's CPU functions: it is the reference that is on trial.
void check_reference(const Library& library, const std::vector<Case>& cases, Checks& checks);

// A library without CUDA must say so when a plugin is to run; nothing is checked in one that has it.
void check_enqueue_without_cuda(const Library& library, Checks& checks);

#if defined(RECBLR_HOST_CUDA)
// A GPU. Both functions throw std::runtime_error where a CUDA call fails.
void require_gpu();
void check_enqueue(const Library& library, Checks& checks);
#endif

}  // namespace host
