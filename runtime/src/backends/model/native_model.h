// A whole model on the CPU: its weights in the order in which the kernels read them, and the feeding of items.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "backends/model/kernels.h"
#include "backends/model/model_weights.h"
#include "backends/scratch.h"
#include "cpu/parallel.h"

namespace recblr {

// Memory that feeding uses again.
struct FeedScratch {
  std::vector<FedRow> rows;
  std::vector<int64_t> shares;         // the first row of each, and the end
  std::vector<Buffer<float>> workers;  // of each, for the kernels

  int64_t bytes() const;
};

// Threads may share one.
class NativeModel {
 public:
  // Copies the weights, but for the embedding, which is not NULL and stays where it is. `copies_items`: also the items,
  // for `score`. Throws std::invalid_argument as instruction_set() does.
  NativeModel(const ModelWeights& weights, bool copies_items);

  int64_t state_size() const { return packed_.n_layers * packed_.taps * packed_.width + packed_.dim; }
  bool can_score() const { return packed_.items != nullptr; }

  // Writes each row's new state. The items are from 1 to V.
  void feed(const Row* rows, int64_t n_rows, int threads, const ThreadPool& pool, FeedScratch* scratch) const;

  // V, filled up to what `score` writes for a row.
  int64_t padded_items() const { return padded(packed_.n_items); }
  // scores: [n_rows, padded_items()], of which the first V are the dot products of each query [D], `stride` after the
  // one before, and each item, item 1 first.
  void score(const float* queries, int64_t stride, int64_t n_rows, float* scores) const {
    kernels_.score(packed_, queries, stride, n_rows, scores, padded_items());
  }

 private:
  int64_t padded(int64_t n) const { return (n + kernels_.panel - 1) / kernels_.panel * kernels_.panel; }
  const float* copy(const void* from, int64_t count) { return copy(from, count, count); }
  const float* copy(const void* from, int64_t count, int64_t padded_count);
  const float* pack(const void* matrix, int64_t first_output, int64_t outputs, int64_t inputs);
  float* add(int64_t count);
  PackedLayer packed_layer(const LayerWeights& from);

  ModelKernels kernels_;
  PackedModel packed_;
  std::vector<PackedLayer> layers_;
  std::vector<Buffer<float>> arrays_;
};

}  // namespace recblr
