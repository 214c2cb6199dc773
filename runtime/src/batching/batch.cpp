#include "batching/batch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "batching/failure.h"

namespace recblr {

namespace {

int64_t tokens_of(const Row* rows, int64_t n_rows) {
  int64_t tokens = 0;
  for (int64_t row = 0; row < n_rows; ++row) tokens += rows[row].n_items;
  return tokens;
}

// Runs the rows from `begin` to `end`; `part` is that of the first.
void run_rows(const Backend& backend, Batch* batch, int64_t begin, int64_t end, size_t part) noexcept {
  // Rows of a part that has failed already are not run again.
  for (;; ++part) {
    while (batch->parts[part].end <= begin) ++part;
    if (batch->parts[part].error == nullptr) break;
    begin = std::min(end, batch->parts[part].end);
    if (begin == end) return;
  }
  const auto started = std::chrono::steady_clock::now();
  try {
    backend.run(batch->rows.data() + begin, end - begin);
  } catch (...) {
    ++batch->raised;
    if (end - begin == 1) {
      batch->parts[part].error = explained(std::current_exception());
      return;
    }
    const int64_t middle = begin + (end - begin) / 2;
    run_rows(backend, batch, begin, middle, part);
    run_rows(backend, batch, middle, end, part);
    return;
  }
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - started;
  batch->runs.push_back({end - begin, tokens_of(batch->rows.data() + begin, end - begin), passed.count()});
}

}  // namespace

void Batch::clear() noexcept {
  rows.clear();
  parts.clear();
  runs.clear();
  raised = 0;
}

void Batch::add(Job* job, const Part& part, const Limits& limits, int64_t state_size) {
  const size_t before = rows.size(), after = before + static_cast<size_t>(part.n_rows);
  if (runs.capacity() < after) runs.reserve(2 * after);  // at most one run for each row
  parts.reserve(parts.capacity() == parts.size() ? 2 * parts.size() + 1 : 0);
  rows.resize(after);
  write_rows(part, job->rows.rows(), limits, job->scratch, state_size, rows.data() + before);
  parts.push_back({job, part, nullptr, static_cast<int64_t>(after), nullptr});
  if (part.start > 0 && part.last) parts.back().scratch = std::exchange(job->scratch, nullptr);
}

void run_batch(const Backend& backend, Batch* batch) noexcept {
  run_rows(backend, batch, 0, static_cast<int64_t>(batch->rows.size()), 0);
}

}  // namespace recblr
