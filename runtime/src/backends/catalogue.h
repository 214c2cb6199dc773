// Ranks a bundle's whole catalogue for query vectors, exactly, on the CPU.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"
#include "bundle/bundle.h"

namespace recblr {

// The embedding of a bundle and at most one index of it. Threads may share it.
class Catalogue {
 public:
  // Throws Error(kBundle) if the bundle has no "embedding.weight" of [V + 1, D]. The bundle must outlive it. `threads`
  // is for one ranking, and for making the index, which it has from kFewestRankedByIndex items on where the machine
  // can use one.
  Catalogue(const Bundle& bundle, int threads);
  ~Catalogue();

  // Ranks for rows by the last D numbers of their state_out; a row's exclude, only, k, top_items and top_scores are as
  // in Row. Rows with k = 0 are left alone.
  void rank(const Row* rows, int64_t n_rows) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
