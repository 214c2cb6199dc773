#include "batching/batch.h"

#include <algorithm>
#include <utility>

#include "batching/halves.h"

namespace recblr {

namespace {

int64_t tokens_of(const Row* rows, int64_t n_rows) {
  int64_t tokens = 0;
  for (int64_t row = 0; row < n_rows; ++row) tokens += rows[row].n_items;
  return tokens;
}

// Notes what becomes of a batch's parts.
class Parts {
 public:
  explicit Parts(Batch* batch) : batch_(*batch) {}

  // Rows of a part that has failed already are not run again.
  int64_t first_wanted(int64_t begin, int64_t end) noexcept {
    for (; begin < end; begin = std::min(end, batch_.parts[part_].end)) {
      while (batch_.parts[part_].end <= begin) ++part_;
      if (batch_.parts[part_].error == nullptr) break;
    }
    return begin;
  }
  void ran(int64_t begin, int64_t end, double seconds) noexcept {
    batch_.runs.push_back({end - begin, tokens_of(batch_.rows.data() + begin, end - begin), seconds});
  }
  bool raised(const std::exception_ptr&) noexcept {
    ++batch_.raised;
    return true;
  }
  void failed(int64_t, std::exception_ptr error) noexcept { batch_.parts[part_].error = std::move(error); }

 private:
  Batch& batch_;
  size_t part_ = 0;  // of the row asked for last
};

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
  Parts parts(batch);
  run_in_halves(backend, batch->rows.data(), 0, static_cast<int64_t>(batch->rows.size()), &parts);
}

}  // namespace recblr
