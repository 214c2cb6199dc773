// Ranks a bundle's whole catalogue for query vectors, exactly, on the CPU.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"
#include "bundle/bundle.h"

namespace recblr {

// The embedding of a bundle and at most one index of it, and no other copy. Threads may share it. After the first
// rankings, one takes no memory from the heap.
class Catalogue {
 public:
  // Throws Error(kBundle) if the bundle has no "embedding.weight" of [V + 1, D], Error(kConfig) for threads < 1 or an
  // instruction set in RECBLR_CPU_ISA that there is not. The bundle must outlive it. `threads` is for one ranking, and
  // for making the index, which it has from kFewestRankedByIndex items on where the machine can use one.
  Catalogue(const Bundle& bundle, int threads);
  // Of an embedding, float32 [n_items + 1, dim] at any address, which must outlive this; NULL for zeros.
  Catalogue(const void* embedding, int64_t n_items, int64_t dim, int64_t state_size, int threads);
  ~Catalogue();

  // Ranks for rows by the last D numbers of their state_out; a row's exclude, only, k, top_items and top_scores are as
  // in Row. Rows with k = 0 are left alone. Throws Error(kInvalidArgument) for an end of a list that is not from 1 to
  // V, and for a negative k.
  void rank(const Row* rows, int64_t n_rows) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
