// The backend of this library's own CPU kernels.
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "bundle/bundle.h"

namespace recblr {

struct ModelWeights;

// Any k up to V, allow-lists and exclusions in the run itself. A row's result is the same bit for bit whatever else is
// in the batch, however many threads there are, and whether its items come at once or one by one through its state.
// After the first runs, a run takes no memory from the heap.
class NativeBackend : public Backend {
 public:
  // Throws Error(kBundle) where the bundle's manifest has not all weights of a model, Error(kConfig) for threads < 1 or
  // an instruction set in RECBLR_CPU_ISA that there is not. `threads` is for one run, which shares its rows among them.
  // The bundle is kept.
  NativeBackend(std::shared_ptr<const Bundle> bundle, int threads);
  // Of weights that are copied, but for the embedding, which must outlive this.
  NativeBackend(const ModelWeights& weights, int threads);
  ~NativeBackend() override;

  // Throws Error(kInvalidArgument) for an item, or an end of a list, that is not from 1 to V, and for a negative k.
  void run(const Row* rows, int64_t n_rows) const override;
  Limits limits() const override;
  std::string description() const override;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
