// What runs a model for an engine: one method.
#pragma once

#include <cstdint>
#include <string>

namespace recblr {

// Items by the model's indices, ascending and each once.
struct ItemList {
  const int32_t* items = nullptr;
  int64_t count = 0;
};

// One row of a run: its items are fed to its state, and the catalogue is ranked for it.
struct Row {
  const int32_t* items = nullptr;  // [n_items], from 1 to V
  int64_t n_items = 0;
  const float* state_in = nullptr;  // [S]; not state_out, so that a run that failed can be repeated
  float* state_out = nullptr;       // [S]
  ItemList exclude;                 // not ranked
  ItemList only;                    // the only ones that are ranked, where has_only
  bool has_only = false;
  int64_t k = 0;                 // results, 1 to V; 0 for the state alone
  int32_t* top_items = nullptr;  // [k] best first, equal scores by the smaller item; 0 where there are no more
  float* top_scores = nullptr;   // [k] NaN ranks before all other scores; -inf where there are no more
};

// The most that one run is given.
struct Limits {
  int64_t rows;
  int64_t tokens;      // items of all rows
  int64_t exclusions;  // of all rows; those of a single row are never split
};

// Threads may run one at once. A row's results do not depend on the other rows.
class Backend {
 public:
  virtual ~Backend() = default;

  // Runs rows, at least one. Throws Error; what it had written by then is not to be used, and it may be called again.
  virtual void run(const Row* rows, int64_t n_rows) const = 0;

  // What it can be given at most; the caller splits what is larger.
  virtual Limits limits() const = 0;

  // What runs the model and how, for people: "recblr's own kernels on the CPU, 2 threads".
  virtual std::string description() const = 0;
};

}  // namespace recblr
