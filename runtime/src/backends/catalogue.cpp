#include "backends/catalogue.h"

#include <new>
#include <stdexcept>
#include <string>

#include "backends/embedding.h"
#include "backends/model/model_weights.h"
#include "backends/ranking/ranked_items.h"
#include "backends/ranking/top_items.h"
#include "backends/scratch.h"
#include "backends/thread_team.h"
#include "base/error.h"
#include "cpu/crossovers.h"

namespace recblr {

struct Catalogue::Parts {
  Parts(const void* held, int64_t n_items, int64_t dim, int64_t state_size, int threads)
      : state_size(state_size),
        threads(checked_threads(threads)),
        team(threads),
        embedding(held, n_items, dim),
        items(embedding.data(), n_items, dim, kFewestRankedByIndex, threads, team.pool()) {}

  const int64_t state_size;
  const int threads;
  const ThreadTeam team;
  const Embedding embedding;
  const RankedItems items;
  ReusePool<TopItemsScratch> scratch;
};

Catalogue::Catalogue(const void* embedding, int64_t n_items, int64_t dim, int64_t state_size, int threads) {
  try {
    parts_ = std::make_unique<Parts>(embedding, n_items, dim, state_size, threads);
  } catch (const std::invalid_argument& error) {  // of RECBLR_CPU_ISA
    refuse(Code::kConfig, error.what());
  } catch (const std::bad_alloc&) {
    refuse(Code::kOutOfMemory, "out of memory for an item index: it takes a quarter of the embedding's bytes");
  }
}

Catalogue::Catalogue(const Bundle& bundle, int threads)
    : Catalogue(item_embedding(bundle.manifest(), [&](const std::string& name) { return bundle.weight(name); }),
                bundle.n_items(), bundle.dim(), bundle.state_size(), threads) {}

Catalogue::~Catalogue() = default;

void Catalogue::rank(const Row* rows, int64_t n_rows) const {
  Parts& p = *parts_;
  for (int64_t row = 0; row < n_rows; ++row) check_ranking(rows[row], p.items.n_items);
  try {
    const ReusePool<TopItemsScratch>::Lease scratch(&p.scratch);
    scratch->rows.clear();
    for (int64_t row = 0; row < n_rows; ++row) {
      if (rows[row].k > 0) scratch->rows.push_back(RankedRow::of(rows[row], p.state_size, p.items.dim));
    }
    top_items(p.items, p.threads, p.team.pool(), &*scratch);
  } catch (const std::bad_alloc&) {
    refuse(Code::kOutOfMemory, "out of memory for the candidates: rank fewer rows at once, or a smaller k");
  }
}

}  // namespace recblr
