// A backend in the caller's hands: ONNX Runtime or TensorRT in Python, or a test's fault.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

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
  std::function<void(const ArrayRun&)> run;  // throws Error; anything else becomes Error(kBackend) outside
  Limits limits;
  int64_t max_k;  // the most results per row that it ranks; 0 where it computes states alone
  std::string description;
};

// What the callback cannot do - allow-lists, more than max_k results - is ranked by the bundle's catalogue, from the
// states that it gives.
class CallbackBackend : public Backend {
 public:
  CallbackBackend(std::shared_ptr<const Bundle> bundle, Callback callback, int ranking_threads);

  void run(const Row* rows, int64_t n_rows) const override;
  Limits limits() const override { return callback_.limits; }
  std::string description() const override { return callback_.description; }

 private:
  const Catalogue& catalogue() const;  // made when it is first needed

  std::shared_ptr<const Bundle> bundle_;
  Callback callback_;
  int ranking_threads_;
  mutable std::once_flag made_;
  mutable std::unique_ptr<Catalogue> catalogue_;
};

}  // namespace recblr
