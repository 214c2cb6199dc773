// How many threads and runs at once an engine on the CPU has where nobody says.
#pragma once

#include <cstdint>

#include "batching/batcher.h"

namespace recblr {

// From so many items on, ranking the catalogue is most of a run: all threads share it, and to merge rows saves more
// than to run some at once.
constexpr int64_t kLargeCatalogue = 100'000;

// The threads of one run; `asked` 0 is one for each CPU. Where the engine batches and the catalogue is not large, it is
// one: several runs at once use the CPUs better than several threads for one. Throws Error(kConfig) below 0.
int run_threads(int asked, bool batching, int64_t n_items, int cpus);

// Fills in `workers` 0: as many as there are CPUs for the threads of each. For a large catalogue only a full batch is
// enough, where enough_rows and enough_tokens are 0; otherwise the settings' defaults are. Where `workers` was 0, the
// runs are `native`, of one thread each, and the catalogue is not large, more callers than those may run their own
// short rows at once: the CPUs are shared at less cost than rows are handed to a worker.
BatchingSettings filled_in(BatchingSettings settings, bool native, int run_threads, int64_t n_items, int cpus);

}  // namespace recblr
