#include "backends/model/by_scores.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "backends/ranking/best_scores.h"
#include "backends/ranking/key.h"
#include "cpu/crossovers.h"

namespace recblr {

namespace {

using Worker = ByScoresScratch::Worker;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Scores that are looked at before the threshold rises: whole panels, at first few, as at first all are above it.
constexpr int64_t kFirstPiece = 64, kPiece = 1024;

// The k best of a row's scores, `count` of them with what fills them up.
void select(const RankedItems& items, const float* scores, int64_t count, const RankedRow& row, Worker* worker) {
  const size_t kept = static_cast<size_t>(std::min(row.k, items.n_items));
  std::vector<Key>& keys = worker->row.keys;
  keys.clear();
  float threshold = low_threshold(items.score_kernels, scores, items.n_items, row.k, &worker->row.largest);
  const int64_t first_piece = threshold > -kInfinity ? kPiece : kFirstPiece;
  for (int64_t first = 0, piece = first_piece; first < count; first += piece, piece = std::min(2 * piece, kPiece)) {
    if (std::isnan(threshold)) break;  // k NaNs: no later item ranks before them
    piece = std::min(piece, count - first);
    const int64_t n_found = items.score_kernels.find_above(scores + first, piece, threshold, worker->found.data());
    for (int64_t at = 0; at < n_found; ++at) {
      const int64_t place = first + worker->found.data()[at];
      if (place < items.n_items) keys.push_back(key_of(scores[place], static_cast<int32_t>(place + 1)));
    }
    if (keys.size() > 2 * kept) {
      std::nth_element(keys.begin(), keys.begin() + static_cast<ptrdiff_t>(kept) - 1, keys.end(), std::greater<Key>());
      keys.resize(kept);
      threshold = score_of(keys.back());
    }
  }
  write_best(&keys, row.k, row.top_items, row.top_scores);
}

// One ranking of rows by a model's items.
class Ranking {
 public:
  Ranking(const NativeModel& model, const RankedItems& items, ByScoresScratch* scratch)
      : model_(model), items_(items), s_(*scratch), n_rows_(static_cast<int64_t>(s_.rows.size())) {}

  void run(int threads, const ThreadPool& pool) {
    const int64_t per_thread = (n_rows_ - 1) / threads + 1;
    group_ = std::min(std::max(per_thread, kFewestRowsRankedAtOnce), kMostRowsRankedAtOnce);
    const int64_t n_groups = (n_rows_ + group_ - 1) / group_;
    const int64_t n_workers = useful_threads(threads, n_groups, n_rows_ * (items_.n_items / kScoresOfElement));
    prepare(n_workers);
    const auto rank = [this](int64_t group, int64_t worker) {
      const int64_t first = group * group_;
      rank_rows(first, std::min(group_, n_rows_ - first), &s_.workers[static_cast<size_t>(worker)]);
    };
    in_parallel(n_groups, n_workers, rank, pool);
  }

 private:
  // All memory that the workers need is taken here, in the caller's thread.
  void prepare(int64_t n_workers) {
    float* const queries = s_.queries.get(n_rows_ * items_.dim);
    int64_t largest_k = 0;
    for (int64_t row = 0; row < n_rows_; ++row) {
      const RankedRow& from = s_.rows[static_cast<size_t>(row)];
      std::memcpy(queries + row * items_.dim, from.query, static_cast<size_t>(items_.dim) * sizeof(float));
      largest_k = std::max(largest_k, from.k);
    }
    if (static_cast<int64_t>(s_.workers.size()) < n_workers) s_.workers.resize(static_cast<size_t>(n_workers));
    for (int64_t index = 0; index < n_workers; ++index) {
      Worker& worker = s_.workers[static_cast<size_t>(index)];
      worker.scores.get(std::min(group_, n_rows_) * model_.padded_items());
      worker.found.get(kPiece);
      worker.row.keys.reserve(static_cast<size_t>(2 * std::min(largest_k, items_.n_items) + kPiece));
      worker.row.largest.resize(kScoreGroups);
      if (items_.index != nullptr) worker.row.reserve(items_);
    }
  }

  void rank_rows(int64_t first, int64_t n_rows, Worker* worker) const {
    if (items_.index == nullptr || n_rows > kMostRowsByBounds) return score_rows(first, n_rows, worker);
    for (int64_t row = first; row < first + n_rows; ++row) {
      if (!rank_row_by_index(items_, s_.rows[static_cast<size_t>(row)], &worker->row)) score_rows(row, 1, worker);
    }
  }

  void score_rows(int64_t first, int64_t n_rows, Worker* worker) const {
    const int64_t padded = model_.padded_items();
    float* const all = worker->scores.data();
    model_.score(s_.queries.data() + first * items_.dim, items_.dim, n_rows, all);
    for (int64_t at = 0; at < n_rows; ++at) {
      const RankedRow& row = s_.rows[static_cast<size_t>(first + at)];
      float* const scores = all + at * padded;
      for (int64_t e = 0; e < row.exclude.count; ++e) scores[row.exclude.items[e] - 1] = -kInfinity;
      select(items_, scores, padded, row, worker);
    }
  }

  const NativeModel& model_;
  const RankedItems& items_;
  ByScoresScratch& s_;
  const int64_t n_rows_;
  int64_t group_ = 0;
};

}  // namespace

int64_t ByScoresScratch::bytes() const {
  int64_t total = queries.bytes() + static_cast<int64_t>(rows.capacity() * sizeof(RankedRow));
  for (const Worker& worker : workers) total += worker.scores.bytes() + worker.found.bytes() + worker.row.bytes();
  return total;
}

void rank_by_scores(const NativeModel& model, const RankedItems& items, int threads, const ThreadPool& pool,
                    ByScoresScratch* scratch) {
  if (!scratch->rows.empty()) Ranking(model, items, scratch).run(threads, pool);
}

}  // namespace recblr
