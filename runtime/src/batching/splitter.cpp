#include "batching/splitter.h"

#include <algorithm>

#include "base/error.h"

namespace recblr {

Splitter::Splitter(const Row* rows, int64_t n_rows) : rows_(rows), n_rows_(n_rows) {
  if (rows == nullptr || n_rows < 1) refuse(Code::kInvalidArgument, "the request has no rows: give at least one");
  for (int64_t row = 0; row < n_rows; ++row) {
    tokens_left_ += rows[row].n_items;
    exclusions_ += rows[row].exclude.count;
    longest_ = std::max(longest_, rows[row].n_items);
  }
}

bool Splitter::fits(const Limits& limits) const {
  return n_rows_ <= limits.rows && tokens_left_ <= limits.tokens && (n_rows_ == 1 || exclusions_ <= limits.exclusions);
}

Part Splitter::take(const Limits& room, const Limits& limits, bool empty) {
  Part part;
  part.first = row_;
  part.start = start_;
  if (row_ == n_rows_) return part;
  if (tokens_left_in_row() > limits.tokens) {
    if (!empty) return part;  // a piece fills a batch
    part.n_rows = 1;
    part.tokens = limits.tokens;
    part.last = false;
    start_ += limits.tokens;
    tokens_left_ -= limits.tokens;
    return part;
  }
  while (row_ < n_rows_ && part.n_rows < room.rows) {
    const int64_t tokens = tokens_left_in_row(), exclusions = rows_[row_].exclude.count;
    const bool first = part.n_rows == 0;
    if (tokens > room.tokens - part.tokens || tokens > limits.tokens) break;
    if (exclusions > room.exclusions - part.exclusions && exclusions > 0 && !(empty && first)) break;
    ++part.n_rows;
    part.tokens += tokens;
    part.exclusions += exclusions;
    ++row_;
    start_ = 0;
    if (part.start > 0) break;
  }
  tokens_left_ -= part.tokens;
  return part;
}

void write_rows(const Part& part, const Row* rows, const Limits& limits, float* scratch, int64_t state_size, Row* out) {
  std::copy_n(rows + part.first, part.n_rows, out);
  if (!part.piece()) return;
  const int64_t turn = part.start / limits.tokens % 2;
  out->items += part.start;
  out->n_items = part.tokens;
  if (part.start > 0) out->state_in = scratch + (1 - turn) * state_size;
  if (part.last) return;
  out->state_out = scratch + turn * state_size;
  out->exclude = out->only = ItemList{};
  out->has_only = false;
  out->k = 0;
  out->top_items = nullptr;
  out->top_scores = nullptr;
}

Limits clamped(const Limits& wanted, const Limits& backend) {
  return {std::max<int64_t>(1, std::min(wanted.rows, backend.rows)),
          std::max<int64_t>(1, std::min(wanted.tokens, backend.tokens)),
          std::max<int64_t>(1, std::min(wanted.exclusions, backend.exclusions))};
}

}  // namespace recblr
