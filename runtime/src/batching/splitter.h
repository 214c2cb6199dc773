// Cuts the rows of a request into parts that one run may be given. How a row is cut depends on the limits alone.
#pragma once

#include <cstdint>

#include "backends/backend.h"

namespace recblr {

// Consecutive rows of one request, or a piece of one longer row, for one run.
struct Part {
  int64_t first = 0;   // of the rows, in the request
  int64_t n_rows = 0;  // 0: there is no part
  int64_t start = 0;   // items of the row that are not in this part but in those before; such a part has one row
  int64_t tokens = 0;
  int64_t exclusions = 0;
  bool last = true;  // the rows end here; otherwise the row's next piece needs the state that this one gives

  // Whether it is a piece of a row, and its states are in memory of the executor's.
  bool piece() const { return start > 0 || !last; }
};

// What is left of a request. Of a row longer than limits.tokens come pieces of exactly that size, and then the rest.
class Splitter {
 public:
  Splitter() = default;
  // The rows must stay. Throws Error(kInvalidArgument) where there are none.
  Splitter(const Row* rows, int64_t n_rows);

  // The next part that fits into what is left of a batch, `room`, which is at most `limits`. No part where none fits;
  // in a batch that is `empty`, a row's exclusions may be more than there is room for.
  Part take(const Limits& room, const Limits& limits, bool empty);

  // Where the same rows were copied to.
  void moved_to(const Row* rows) { rows_ = rows; }

  bool fits(const Limits& limits) const;  // as a single run; exclusions count where there are several rows
  const Row* rows() const { return rows_; }
  int64_t n_rows() const { return n_rows_; }
  int64_t longest() const { return longest_; }  // items
  int64_t rows_left() const { return n_rows_ - row_; }
  int64_t tokens_left() const { return tokens_left_; }
  int64_t tokens_left_in_row() const { return rows_[row_].n_items - start_; }  // of the next row

 private:
  const Row* rows_ = nullptr;
  int64_t n_rows_ = 0, longest_ = 0, exclusions_ = 0;
  int64_t tokens_left_ = 0;
  int64_t row_ = 0;    // the next
  int64_t start_ = 0;  // items of it that were taken
};

// Writes the rows that a run is given for a part: [part.n_rows]. `scratch`, [2, S], holds the states between the pieces
// of a row in turns, so that no piece reads what it writes; not used for other parts.
void write_rows(const Part& part, const Row* rows, const Limits& limits, float* scratch, int64_t state_size, Row* out);

// The limits of runs: what the settings say, at most what the backend can be given.
Limits clamped(const Limits& wanted, const Limits& backend);

}  // namespace recblr
