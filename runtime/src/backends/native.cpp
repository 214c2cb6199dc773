#include "backends/native.h"

#include <new>
#include <stdexcept>

#include "backends/embedding.h"
#include "backends/model/by_scores.h"
#include "backends/model/model_weights.h"
#include "backends/model/native_model.h"
#include "backends/ranking/ranked_items.h"
#include "backends/ranking/top_items.h"
#include "backends/scratch.h"
#include "backends/thread_team.h"
#include "base/error.h"
#include "cpu/crossovers.h"

namespace recblr {

namespace {

struct RunScratch {
  FeedScratch feed;
  ByScoresScratch by_scores;
  TopItemsScratch top_items;

  int64_t bytes() const { return feed.bytes() + by_scores.bytes() + top_items.bytes(); }
};

// Whether the model holds the items a second time, in the order in which all scores are soonest computed: not where an
// index ranks every batch, nor where they are so many that their memory counts.
bool copies_items(const RankedItems& items) {
  if (items.n_items >= kFewestRankedInTiles) return false;
  return items.index == nullptr || items.n_items < kFewestRankedByIndex;
}

void check_row(const Row& row, int64_t n_items) {
  for (int64_t at = 0; at < row.n_items; ++at) {
    if (row.items[at] >= 1 && row.items[at] <= n_items) continue;
    refuse(Code::kInvalidArgument, "items[" + std::to_string(at) + "] is " + std::to_string(row.items[at]) +
                                       ": it must be from 1 to " + std::to_string(n_items));
  }
  check_ranking(row, n_items);
}

}  // namespace

struct NativeBackend::Parts {
  Parts(const ModelWeights& weights, int threads)
      : threads(checked_threads(threads)),
        team(threads),
        embedding(weights.embedding, weights.n_items, weights.dim),
        items(embedding.data(), weights.n_items, weights.dim, kFewestIndexed, threads, team.pool()),
        model(with_embedding(weights), copies_items(items)) {}

  ModelWeights with_embedding(ModelWeights weights) const {
    weights.embedding = embedding.data();
    return weights;
  }

  const int threads;
  const ThreadTeam team;
  const Embedding embedding;
  const RankedItems items;
  const NativeModel model;
  ReusePool<RunScratch> scratch;
  std::shared_ptr<const Bundle> bundle{};  // holds the embedding
};

NativeBackend::NativeBackend(const ModelWeights& weights, int threads) {
  try {
    parts_ = std::make_unique<Parts>(weights, threads);
  } catch (const std::invalid_argument& error) {  // of RECBLR_CPU_ISA
    refuse(Code::kConfig, error.what());
  } catch (const std::bad_alloc&) {
    refuse(Code::kOutOfMemory, "out of memory for the copies of a model's weights");
  }
}

NativeBackend::NativeBackend(std::shared_ptr<const Bundle> bundle, int threads)
    : NativeBackend(model_weights(bundle->manifest(), [&](const std::string& name) { return bundle->weight(name); }),
                    threads) {
  parts_->bundle = std::move(bundle);
}

NativeBackend::~NativeBackend() = default;

void NativeBackend::run(const Row* rows, int64_t n_rows) const {
  Parts& p = *parts_;
  for (int64_t row = 0; row < n_rows; ++row) check_row(rows[row], p.items.n_items);
  try {
    const ReusePool<RunScratch>::Lease scratch(&p.scratch);
    p.model.feed(rows, n_rows, p.threads, p.team.pool(), &scratch->feed);
    scratch->by_scores.rows.clear();
    scratch->top_items.rows.clear();
    for (int64_t row = 0; row < n_rows; ++row) {
      if (rows[row].k == 0) continue;
      const bool by_scores = p.model.can_score() && !rows[row].has_only;
      (by_scores ? scratch->by_scores.rows : scratch->top_items.rows)
          .push_back(RankedRow::of(rows[row], p.model.state_size(), p.items.dim));
    }
    rank_by_scores(p.model, p.items, p.threads, p.team.pool(), &scratch->by_scores);
    top_items(p.items, p.threads, p.team.pool(), &scratch->top_items);
  } catch (const std::bad_alloc&) {
    refuse(Code::kOutOfMemory, "out of memory for a run: give fewer rows or items at once, or a smaller k");
  }
}

// Enough to keep every core busy, while memory stays bounded: so many rows' states and results.
Limits NativeBackend::limits() const { return {256, 65536, 65536}; }

std::string NativeBackend::description() const {
  const std::string threads = std::to_string(parts_->threads) + (parts_->threads == 1 ? " thread" : " threads");
  return "recblr's own kernels on the CPU, " + threads;
}

}  // namespace recblr
