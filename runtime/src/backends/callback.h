// A backend in the caller's hands: ONNX Runtime or TensorRT in Python, or a test's fault.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/catalogue.h"
#include "bundle/bundle.h"

namespace recblr {

// Rows as arrays, one after another.
struct ArrayRun {
  int64_t n_rows;          // B
  int64_t n_items;         // N
  int64_t n_exclude;       // M
  int64_t k;               // results per row, at most the callback's max_k; 0 for the states alone
  const int32_t* items;    // [N]
  const int32_t* offsets;  // [B + 1]
  const float* state_in;   // [B, S]
  const int32_t* exclude;  // [M, 2] of (row, item), rows ascending
  float* state_out;        // [B, S]
  int32_t* top_items;      // [B, k]
  float* top_scores;       // [B, k]
};

struct Callback {
  std::function<void(const ArrayRun&)> run;  // throws Error; any other exception becomes Error(kBackend)
  Limits limits;
  int64_t max_k;  // the most results per row that it ranks; 0 where it computes states alone
  std::string description;
};

// What the callback cannot do - allow-lists, more than max_k results - is ranked by the bundle's catalogue, from the
// states that it gives. Nothing is written to a row before its run has succeeded.
class CallbackBackend : public Backend {
 public:
  // `ranking_threads` is for one ranking by the catalogue.
  CallbackBackend(std::shared_ptr<const Bundle> bundle, Callback callback, int ranking_threads);
  ~CallbackBackend() override;

  // Throws what the callback throws, and Error(kBackend) where what it gives cannot be an answer: items that the
  // catalogue does not have or that are excluded, scores that rise or are no numbers.
  void run(const Row* rows, int64_t n_rows) const override;
  Limits limits() const override { return callback_.limits; }
  std::string description() const override { return callback_.description; }

 private:
  struct Arrays;      // of one run
  class ArraysLease;  // takes them from the pool, and gives them back
  bool is_ranked_by_callback(const Row& row) const;
  const Catalogue& catalogue() const;  // made when it is first needed

  std::shared_ptr<const Bundle> bundle_;
  Callback callback_;
  int ranking_threads_;
  mutable std::mutex catalogue_mutex_;
  mutable std::unique_ptr<const Catalogue> catalogue_;
  mutable std::mutex pool_mutex_;
  mutable std::vector<std::unique_ptr<Arrays>> pool_;
};

}  // namespace recblr
