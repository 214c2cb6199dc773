// The k best items of a catalogue for every row, exactly. Items are scored tile by tile; only scores above the k-th
// best of their row so far are kept, so that memory does not grow with the catalogue. With an index, most tiles are not
// scored at all.
#include "backends/ranking/top_items.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "abi/arguments.h"
#include "abi/guarded.h"
#include "backends/ranking/item_index.h"
#include "backends/ranking/item_lists.h"
#include "backends/ranking/key.h"
#include "backends/ranking/rounded_queries.h"
#include "backends/ranking/top_items_kernels.h"
#include "cpu/crossovers.h"
#include "cpu/instruction_set.h"
#include "cpu/parallel.h"
#include "recblr/plugins.h"

namespace recblr {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kBlockBytes = 131072;  // of items that all rows meet before the next: within the L2 cache
constexpr int64_t kCandidateBytes = int64_t{1} << 26;  // for all threads' candidates; more rows wait for a next pass
constexpr int64_t kMostHits = int64_t{1} << 18;        // of a block, which take 2 MiB
constexpr int64_t kScoredTogether = 64;                // items that passed the index
constexpr int64_t kMostPrefetched = 512;               // bytes of such an item
constexpr int64_t kFewestSpare = 32;                   // candidates beyond k: with them all full, k are kept

// Whether there is an index, and kernels that can read it: it may have been made when better ones were allowed.
bool can_use(const recblr_item_index* index, IndexKernels* kernels) {
  return index != nullptr && best_index_kernels(kernels) && index->levels <= kernels->levels;
}

// Of float32, so that no vector lies across two.
struct alignas(64) CacheLine {
  float values[16];
};

// What is ranked: items 1 to V, or those of a list.
struct Candidates {
  const int32_t* items;  // NULL for all
  int64_t count;

  int32_t item(int64_t at) const { return items == nullptr ? static_cast<int32_t>(at + 1) : items[at]; }
};

// Which of the candidates a row may have.
struct Restrictions {
  const ItemLists& excluded;
  const ItemLists* allowed;  // NULL: the candidates are all allowed

  bool admit(int64_t row, int32_t item) const {
    if (excluded.hold(row, item)) return false;
    return allowed == nullptr || allowed->hold(allowed->count() == 1 ? 0 : row, item);
  }
};

// Ranks the same candidates for consecutive rows: one pass over the candidates.
class Pass {
 public:
  Pass(const recblr_top_items& a, const TopItemsKernels& kernels, Restrictions restrictions, Candidates candidates,
       int64_t first_row, int64_t n_rows, int64_t threads)
      : a_(a),
        kernels_(kernels),
        restrictions_(restrictions),
        candidates_(candidates),
        first_row_(first_row),
        n_rows_(n_rows),
        capacity_(capacity(a.k, candidates.count)),
        shared_(static_cast<size_t>(n_rows)),
        has_index_(candidates.items == nullptr && can_use(a.index, &index_kernels_) &&
                   (n_rows < kManyRows || candidates.count >= kItemsPerCandidate * capacity_)) {
    // A block is made of whole tiles; by an index, of whole panels, too, and its bytes are a quarter.
    const int64_t item_bytes = a.dim * static_cast<int64_t>(has_index_ ? sizeof(int8_t) : sizeof(float));
    unit_ = kernels.tile_items * (has_index_ ? kIndexPanel : 1);
    block_ = unit_ * std::max<int64_t>(1, kBlockBytes / (unit_ * item_bytes));
    if (has_index_)
      rounded_ = std::make_unique<RoundedQueries>(a.queries + first_row * a.dim, n_rows, *a.index, index_kernels_);
    for (int64_t row = 0; row < n_rows;) {
      const bool wide = n_rows - row > kernels.group_rows[0];
      groups_.push_back({row, wide});
      row += kernels.group_rows[wide];
    }
    pack_queries();
    const int64_t blocks = (candidates.count + block_ - 1) / block_;
    workers_.resize(static_cast<size_t>(std::max<int64_t>(1, std::min(threads, blocks))));
    for (std::atomic<float>& threshold : shared_) threshold.store(-kInfinity, std::memory_order_relaxed);
    for (Worker& worker : workers_) {
      worker.thresholds.assign(static_cast<size_t>(padded_rows_ + kMostIndexRows), kInfinity);
      std::fill_n(worker.thresholds.begin(), n_rows, -kInfinity);
      worker.found.resize(static_cast<size_t>(n_rows));
      worker.keys.reset(new Key[static_cast<size_t>(n_rows * capacity_)]);
      // A list's items are copied together; of all items, only what is left after the last whole tile is.
      const int64_t copied = candidates.items == nullptr ? kernels.tile_items : block_;
      worker.copies.resize(static_cast<size_t>(copied * a.dim));
      if (has_index_) worker.hits.resize(static_cast<size_t>(most_hits()));
    }
    merged_.resize(workers_.size() * workers_.size() * static_cast<size_t>(std::min(a.k, capacity_)));
  }

  // Bytes of candidates for each row and thread.
  static int64_t row_bytes(int64_t k, int64_t count) { return capacity(k, count) * static_cast<int64_t>(sizeof(Key)); }

  void run() {
    const int64_t threads = static_cast<int64_t>(workers_.size());
    const int64_t blocks = (candidates_.count + block_ - 1) / block_;
    in_parallel(blocks, threads, [&](int64_t block, int64_t worker) { scan_block(block * block_, worker); });
    in_parallel(n_rows_, threads, [&](int64_t row, int64_t worker) { write_row(row, worker); });
  }

 private:
  struct Group {
    int64_t first;
    bool wide;
  };

  struct Found {
    int64_t count = 0;
    bool settled = false;  // k NaNs were found: no later item ranks before them
  };

  // A worker meets the candidates in ascending order, so a score equal to its k-th best one ranks behind it.
  struct Worker {
    std::vector<float> thresholds;  // [padded rows, and kMostIndexRows]
    std::vector<Found> found;       // [rows]
    std::unique_ptr<Key[]> keys;    // [rows, capacity]; left uninitialised, so that what is not needed takes no memory
    std::vector<float> copies;
    std::vector<IndexHit> hits;
    int64_t met = 0;  // items
  };

  static int64_t capacity(int64_t k, int64_t count) { return std::min(k + std::max(kFewestSpare, k / 2), count); }

  void pack_queries() {
    padded_rows_ = groups_.back().first + kernels_.group_rows[groups_.back().wide];
    queries_.assign(static_cast<size_t>((padded_rows_ * a_.dim + 15) / 16), CacheLine{});
    for (const Group& group : groups_) {
      const int64_t rows = kernels_.group_rows[group.wide];
      float* packed = queries_.front().values + group.first * a_.dim;
      for (int64_t row = 0; row < std::min(rows, n_rows_ - group.first); ++row) {
        const float* query = a_.queries + (first_row_ + group.first + row) * a_.dim;
        for (int64_t d = 0; d < a_.dim; ++d) packed[d * rows + row] = query[d];
      }
    }
  }

  void copy_items(int64_t first, int64_t count, float* to) const {
    const size_t bytes = static_cast<size_t>(a_.dim) * sizeof(float);
    for (int64_t at = 0; at < count; ++at) {
      std::memcpy(to + at * a_.dim, embedding_of(candidates_.item(first + at)), bytes);
    }
  }

  const unsigned char* embedding_of(int64_t item) const {
    return static_cast<const unsigned char*>(a_.embedding) + item * a_.dim * static_cast<int64_t>(sizeof(float));
  }

  void scan_block(int64_t first, int64_t worker_index) {
    Worker& worker = workers_[static_cast<size_t>(worker_index)];
    const int64_t count = std::min(block_, candidates_.count - first);
    if (workers_.size() > 1) share_thresholds(worker);
    if (candidates_.items != nullptr) {
      copy_items(first, count, worker.copies.data());
      scan(worker.copies.data(), first, count, worker);
      return;
    }
    if (!has_index_) {
      scan_tiles(first, count, worker);
      return;
    }
    const int64_t met = std::min(
        count, std::max<int64_t>(0, kItemsMetPerCandidate * capacity_ - worker.met + unit_ - 1) / unit_ * unit_);
    worker.met += count;
    if (met > 0) scan_tiles(first, met, worker);
    if (met == count || scan_index(first + met, count - met, worker)) return;
    scan_tiles(first + met, count - met, worker);
  }

  void scan_tiles(int64_t first, int64_t count, Worker& worker) {
    const int64_t whole = count / kernels_.tile_items * kernels_.tile_items;
    scan(embedding_of(first + 1), first, whole, worker);
    if (whole < count) {
      copy_items(first + whole, count - whole, worker.copies.data());
      scan(worker.copies.data(), first + whole, count - whole, worker);
    }
  }

  int64_t most_hits() const { return std::min(n_rows_ * block_ / kItemsPerHitOfBlock, kMostHits) + kIndexTileHits; }

  // Scores only those items that may pass by the index. False, and nothing is done, if they are too many.
  bool scan_index(int64_t first, int64_t count, Worker& worker) {
    IndexHit* const hits = worker.hits.data();
    IndexScan scan = rounded_->scan(worker.thresholds.data());
    scan.items = a_.index->items + first / kIndexPanel * a_.index->quads * kIndexPanel * 4;
    scan.bounds = a_.index->bounds + first / kIndexPanel;
    scan.n_panels = (count + kIndexPanel - 1) / kIndexPanel;
    scan.hits = hits;
    scan.most_hits = most_hits();
    if (!index_kernels_.scan[rounded_->size()](&scan)) return false;
    int64_t n_hits = 0;
    for (int64_t at = 0; at < scan.n_hits; ++at) {
      const IndexHit hit = hits[at];
      if (hit.row >= n_rows_ || hit.item >= count) continue;  // what groups and panels are filled up with
      prefetch(embedding_of(candidates_.item(first + hit.item)));
      hits[n_hits++] = hit;
    }
    float scores[kScoredTogether];
    for (int64_t done = 0; done < n_hits; done += kScoredTogether) {
      const int64_t n = std::min(kScoredTogether, n_hits - done);
      index_kernels_.score(hits + done, n, a_.queries + first_row_ * a_.dim, a_.embedding, first + 1, a_.dim, scores);
      for (int64_t at = 0; at < n; ++at) {
        const IndexHit& hit = hits[done + at];
        offer(worker, hit.row, candidates_.item(first + hit.item), scores[at]);
      }
    }
    return true;
  }

  void prefetch(const unsigned char* vector) const {
    const int64_t bytes = std::min<int64_t>(a_.dim * static_cast<int64_t>(sizeof(float)), kMostPrefetched);
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(vector + at);
  }

  // `items` are the embeddings of `count` candidates from `first` on, and as many more as make the last tile whole.
  void scan(const void* items, int64_t first, int64_t count, Worker& worker) {
    TopItemsHit hits[kMostTileItems * kMostGroupRows];
    for (const Group& group : groups_) {
      TopItemsScan scan{queries_.front().values + group.first * a_.dim,
                        worker.thresholds.data() + group.first,
                        items,
                        a_.dim,
                        (count + kernels_.tile_items - 1) / kernels_.tile_items,
                        hits,
                        0};
      int64_t scanned = 0;  // items
      while (scan.n_tiles > 0) {
        const int64_t tiles = kernels_.scan[group.wide](&scan);
        for (int64_t at = 0; at < scan.n_hits; ++at) {
          const TopItemsHit& hit = hits[at];
          const int64_t place = scanned + hit.item, row = group.first + hit.row;
          if (place < count && row < n_rows_) offer(worker, row, candidates_.item(first + place), hit.score);
        }
        scanned += tiles * kernels_.tile_items;
        scan.n_tiles -= tiles;
        scan.items = static_cast<const unsigned char*>(scan.items) +
                     tiles * kernels_.tile_items * a_.dim * static_cast<int64_t>(sizeof(float));
      }
    }
  }

  void offer(Worker& worker, int64_t row, int32_t item, float score) {
    Found& found = worker.found[static_cast<size_t>(row)];
    if (found.settled || score <= worker.thresholds[static_cast<size_t>(row)]) return;
    if (!restrictions_.admit(first_row_ + row, item)) return;
    Key* keys = worker.keys.get() + row * capacity_;
    keys[found.count++] = key_of(score, item);
    if (found.count < capacity_ || found.count <= a_.k) return;
    std::nth_element(keys, keys + a_.k - 1, keys + found.count, std::greater<Key>());
    found.count = a_.k;
    const float worst = score_of(keys[a_.k - 1]);
    found.settled = std::isnan(worst);
    float& threshold = worker.thresholds[static_cast<size_t>(row)];
    threshold = found.settled ? kInfinity : std::max(threshold, worst);  // another worker's may be higher
    if (!found.settled) raise(&shared_[static_cast<size_t>(row)], worst);
  }

  static void raise(std::atomic<float>* least, float value) {
    float before = least->load(std::memory_order_relaxed);
    while (before < value && !least->compare_exchange_weak(before, value, std::memory_order_relaxed)) {
    }
  }

  // Takes over what other workers found out. A score equal to another's k-th best one may rank before it, by its item.
  void share_thresholds(Worker& worker) const {
    for (int64_t row = 0; row < n_rows_; ++row) {
      float& threshold = worker.thresholds[static_cast<size_t>(row)];
      const float shared = shared_[static_cast<size_t>(row)].load(std::memory_order_relaxed);
      if (shared > threshold) threshold = std::nextafter(shared, -kInfinity);
    }
  }

  void write_row(int64_t row, int64_t worker_index) {
    Key* const first = merged_.data() + worker_index * static_cast<int64_t>(merged_.size() / workers_.size());
    Key* last = first;
    for (Worker& worker : workers_) {
      Key* keys = worker.keys.get() + row * capacity_;
      const int64_t count = worker.found[static_cast<size_t>(row)].count, best = std::min(a_.k, count);
      if (best < count) std::nth_element(keys, keys + best, keys + count, std::greater<Key>());
      last = std::copy_n(keys, best, last);
    }
    Key* const end = first + std::min<int64_t>(a_.k, last - first);
    std::partial_sort(first, end, last, std::greater<Key>());
    int32_t* items = a_.top_items + (first_row_ + row) * a_.k;
    float* scores = a_.top_scores + (first_row_ + row) * a_.k;
    for (int64_t at = 0; at < a_.k; ++at) {
      const bool ranked = at < end - first;
      items[at] = ranked ? item_of(first[at]) : 0;
      scores[at] = ranked ? score_of(first[at]) : -kInfinity;
    }
  }

  const recblr_top_items& a_;
  const TopItemsKernels& kernels_;
  const Restrictions restrictions_;
  const Candidates candidates_;
  const int64_t first_row_, n_rows_, capacity_;
  std::vector<std::atomic<float>> shared_;  // [rows]: the k-th best score of any worker
  IndexKernels index_kernels_{};
  const bool has_index_;
  std::unique_ptr<RoundedQueries> rounded_;
  int64_t unit_ = 0, block_ = 0, padded_rows_ = 0;  // items of which a block is a multiple; items; rows
  std::vector<Group> groups_;
  std::vector<CacheLine> queries_;  // packed: per group [dim, rows of the group]
  std::vector<Worker> workers_;
  std::vector<Key> merged_;  // [workers, workers * k]
};

// Ranks the candidates for consecutive rows, so many at once as the candidates' memory allows.
void rank(const recblr_top_items& a, const TopItemsKernels& kernels, Restrictions restrictions, Candidates candidates,
          int64_t first_row, int64_t n_rows) {
  const int64_t products = candidates.count * a.dim * n_rows;
  const int64_t threads = std::max<int64_t>(1, std::min<int64_t>(a.n_threads, 1 + products / kProductsPerThread));
  const int64_t row_bytes = std::max<int64_t>(1, threads * Pass::row_bytes(a.k, candidates.count));
  int64_t rows = std::max<int64_t>(1, kCandidateBytes / row_bytes);
  if (rows > kernels.group_rows[1]) rows -= rows % kernels.group_rows[1];
  for (int64_t row = 0; row < n_rows; row += rows) {
    Pass(a, kernels, restrictions, candidates, first_row + row, std::min(rows, n_rows - row), threads).run();
  }
}

}  // namespace

void top_items(const recblr_top_items& a) {
  const TopItemsKernels kernels = best_of<TopItemsKernels()>(RECBLR_PER_INSTRUCTION_SET(top_items_kernels))();
  if (a.n_rows == 0) return;
  const ItemLists excluded = exclusions_of(a);
  const Candidates all{nullptr, a.n_items};
  if (a.only == nullptr) {
    rank(a, kernels, {excluded, nullptr}, all, 0, a.n_rows);
    return;
  }
  const ItemLists allowed = allowed_of(a);
  IndexKernels index_kernels;
  const bool has_index = can_use(a.index, &index_kernels);
  // By an index, all items are met sooner than those of a long list are gathered.
  const auto is_long = [&](int64_t list) { return has_index && allowed.size(list) > a.n_items / kItemsPerAllowed; };
  for (int64_t row = 0, n_rows = 1; row < a.n_rows; row += n_rows, n_rows = 1) {
    const int64_t list = allowed.count() == 1 ? 0 : row;
    if (allowed.count() == 1) n_rows = a.n_rows;
    if (is_long(list)) {
      while (row + n_rows < a.n_rows && is_long(row + n_rows)) ++n_rows;
      rank(a, kernels, {excluded, &allowed}, all, row, n_rows);
    } else {
      rank(a, kernels, {excluded, nullptr}, {allowed.begin(list), allowed.size(list)}, row, n_rows);
    }
  }
}

}  // namespace recblr

extern "C" int recblr_top_items_cpu(const recblr_top_items* arguments) {
  using namespace recblr;
  return guarded("out of memory for the candidates: rank fewer rows at once, or a smaller k", [&] {
    const recblr_top_items& a = checked(arguments);
    if (a.index != nullptr) check_index(a, a.index->n_items, a.index->dim);
    top_items(a);
    return RECBLR_OK;
  });
}
