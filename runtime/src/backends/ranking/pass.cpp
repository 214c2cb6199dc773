#include "backends/ranking/pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <new>

#include "cpu/crossovers.h"

namespace recblr {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kBlockBytes = 131072;          // of items that all rows meet before the next: within the L2 cache
constexpr int64_t kMostHits = int64_t{1} << 18;  // of a block, which take 2 MiB
constexpr int64_t kScoredTogether = 64;          // items that passed the index
constexpr int64_t kMostPrefetched = 512;         // bytes of such an item
constexpr int64_t kFewestSpare = 32;             // candidates beyond k: with them all full, k are kept

using Worker = PassScratch::Worker;
using Group = PassScratch::Group;
using Found = PassScratch::Found;

class Pass {
 public:
  Pass(const RankedItems& items, Candidates candidates, const RankedRow* rows, int64_t n_rows, int64_t threads,
       PassScratch* scratch)
      : items_(items), kernels_(items.kernels), candidates_(candidates), rows_(rows), n_rows_(n_rows), s_(*scratch) {
    int64_t* const first_key = s_.first_key.get(n_rows + 1);
    first_key[0] = 0;
    for (int64_t row = 0; row < n_rows; ++row) {
      const int64_t capacity = kept_candidates(rows[row].k, candidates.count);
      first_key[row + 1] = first_key[row] + capacity;
      largest_capacity_ = std::max(largest_capacity_, capacity);
      largest_k_ = std::max(largest_k_, rows[row].k);
    }
    has_index_ = items.ranks_by_index && candidates.items == nullptr &&
                 (n_rows < kManyRows || pays_by_index(largest_capacity_, candidates.count));
    // A block is made of whole tiles; by an index, of whole panels, too, and its bytes are a quarter.
    const int64_t item_bytes = items.dim * static_cast<int64_t>(has_index_ ? sizeof(int8_t) : sizeof(float));
    unit_ = kernels_.tile_items * (has_index_ ? kIndexPanel : 1);
    block_ = unit_ * std::max<int64_t>(1, kBlockBytes / (unit_ * item_bytes));
    pack_queries();
    if (has_index_) s_.rounded.round(queries_, n_rows, *items.index, items.index_kernels);
    make_workers(threads);
  }

  void run(const ThreadPool& pool) {
    const auto scan = [this](int64_t block, int64_t worker) { scan_block(block * block_, worker); };
    in_parallel(n_blocks(), n_workers_, scan, pool);
    const auto write = [this](int64_t row, int64_t worker) { write_row(row, worker); };
    in_parallel(n_rows_, n_workers_, write, pool);
  }

 private:
  int64_t n_blocks() const { return (candidates_.count + block_ - 1) / block_; }

  void pack_queries() {
    const int64_t dim = items_.dim;
    queries_ = s_.queries.get(n_rows_ * dim);
    for (int64_t row = 0; row < n_rows_; ++row) {
      std::memcpy(queries_ + row * dim, rows_[row].query, static_cast<size_t>(dim) * sizeof(float));
    }
    s_.groups.clear();
    for (int64_t row = 0; row < n_rows_;) {
      const bool wide = n_rows_ - row > kernels_.group_rows[0];
      s_.groups.push_back({row, wide});
      row += kernels_.group_rows[wide];
    }
    padded_rows_ = s_.groups.back().first + kernels_.group_rows[s_.groups.back().wide];
    packed_queries_ = s_.packed_queries.get(padded_rows_ * dim);
    std::fill_n(packed_queries_, padded_rows_ * dim, 0.0f);
    for (const Group& group : s_.groups) {
      const int64_t rows = kernels_.group_rows[group.wide];
      float* packed = packed_queries_ + group.first * dim;
      for (int64_t row = 0; row < std::min(rows, n_rows_ - group.first); ++row) {
        const float* query = queries_ + (group.first + row) * dim;
        for (int64_t d = 0; d < dim; ++d) packed[d * rows + row] = query[d];
      }
    }
  }

  // All memory that they need is taken here, in the caller's thread.
  void make_workers(int64_t threads) {
    n_workers_ = std::max<int64_t>(1, std::min(threads, n_blocks()));
    if (static_cast<int64_t>(s_.workers.size()) < n_workers_) s_.workers.resize(static_cast<size_t>(n_workers_));
    std::atomic<float>* const shared = s_.shared.get(n_rows_);
    for (int64_t row = 0; row < n_rows_; ++row) new (shared + row) std::atomic<float>(-kInfinity);
    // A list's items are copied together; of all items, only what is left after the last whole tile is.
    const int64_t copied = candidates_.items == nullptr ? kernels_.tile_items : block_;
    for (int64_t index = 0; index < n_workers_; ++index) {
      Worker& worker = s_.workers[static_cast<size_t>(index)];
      worker.thresholds = worker.threshold_memory.get(padded_rows_ + kMostIndexRows);
      std::fill_n(worker.thresholds, n_rows_, -kInfinity);
      std::fill_n(worker.thresholds + n_rows_, padded_rows_ + kMostIndexRows - n_rows_, kInfinity);
      worker.found = worker.found_memory.get(n_rows_);
      std::fill_n(worker.found, n_rows_, Found{});
      worker.keys = worker.key_memory.get(s_.first_key.data()[n_rows_]);
      worker.copies = worker.copy_memory.get_zeroed(copied * items_.dim);
      worker.hits = has_index_ ? worker.hit_memory.get(most_hits()) : nullptr;
      worker.met = 0;
    }
    s_.merged.get(n_workers_ * merged_size());
  }

  // Keys of one row from all workers.
  int64_t merged_size() const { return n_workers_ * std::min(largest_k_, largest_capacity_); }

  void copy_items(int64_t first, int64_t count, float* to) const {
    const size_t bytes = static_cast<size_t>(items_.dim) * sizeof(float);
    for (int64_t at = 0; at < count; ++at) {
      std::memcpy(to + at * items_.dim, embedding_of(candidates_.item(first + at)), bytes);
    }
  }

  const unsigned char* embedding_of(int64_t item) const {
    return static_cast<const unsigned char*>(items_.embedding) +
           item * items_.dim * static_cast<int64_t>(sizeof(float));
  }

  void scan_block(int64_t first, int64_t worker_index) {
    Worker& worker = s_.workers[static_cast<size_t>(worker_index)];
    const int64_t count = std::min(block_, candidates_.count - first);
    if (n_workers_ > 1) share_thresholds(worker);
    if (candidates_.items != nullptr) {
      copy_items(first, count, worker.copies);
      scan(worker.copies, first, count, worker);
      return;
    }
    if (!has_index_) {
      scan_tiles(first, count, worker);
      return;
    }
    const int64_t before_index = kItemsMetPerCandidate * largest_capacity_ - worker.met;
    const int64_t met = std::min(count, std::max<int64_t>(0, before_index + unit_ - 1) / unit_ * unit_);
    worker.met += count;
    if (met > 0) scan_tiles(first, met, worker);
    if (met == count || scan_index(first + met, count - met, worker)) return;
    scan_tiles(first + met, count - met, worker);
  }

  void scan_tiles(int64_t first, int64_t count, Worker& worker) {
    const int64_t whole = count / kernels_.tile_items * kernels_.tile_items;
    scan(embedding_of(first + 1), first, whole, worker);
    if (whole < count) {
      copy_items(first + whole, count - whole, worker.copies);
      scan(worker.copies, first + whole, count - whole, worker);
    }
  }

  int64_t most_hits() const { return std::min(n_rows_ * block_ / kItemsPerHitOfBlock, kMostHits) + kIndexTileHits; }

  // Scores only those items that may pass by the index. False, and nothing is done, if they are too many.
  bool scan_index(int64_t first, int64_t count, Worker& worker) {
    const ItemIndex& index = *items_.index;
    IndexHit* const hits = worker.hits;
    IndexScan scan = s_.rounded.scan(worker.thresholds);
    scan.items = index.items + first / kIndexPanel * index.quads * kIndexPanel * 4;
    scan.bounds = index.bounds + first / kIndexPanel;
    scan.n_panels = (count + kIndexPanel - 1) / kIndexPanel;
    scan.hits = hits;
    scan.most_hits = most_hits();
    if (!items_.index_kernels.scan[s_.rounded.size()](&scan)) return false;
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
      items_.index_kernels.score(hits + done, n, queries_, items_.embedding, first + 1, items_.dim, scores);
      for (int64_t at = 0; at < n; ++at) {
        const IndexHit& hit = hits[done + at];
        offer(worker, hit.row, candidates_.item(first + hit.item), scores[at]);
      }
    }
    return true;
  }

  void prefetch(const unsigned char* vector) const {
    const int64_t bytes = std::min<int64_t>(items_.dim * static_cast<int64_t>(sizeof(float)), kMostPrefetched);
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(vector + at);
  }

  // `vectors` are the embeddings of `count` candidates from `first` on, and as many more as make the last tile whole.
  void scan(const void* vectors, int64_t first, int64_t count, Worker& worker) {
    TopItemsHit hits[kMostTileItems * kMostGroupRows];
    for (const Group& group : s_.groups) {
      TopItemsScan scan{packed_queries_ + group.first * items_.dim,
                        worker.thresholds + group.first,
                        vectors,
                        items_.dim,
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
                     tiles * kernels_.tile_items * items_.dim * static_cast<int64_t>(sizeof(float));
      }
    }
  }

  bool admits(int64_t row, int32_t item) const {
    const RankedRow& r = rows_[row];
    return !holds(r.exclude, item) && (!r.has_only || candidates_.items != nullptr || holds(r.only, item));
  }

  void offer(Worker& worker, int64_t row, int32_t item, float score) {
    Found& found = worker.found[row];
    float& threshold = worker.thresholds[row];
    if (found.settled || score <= threshold || !admits(row, item)) return;
    const int64_t first_key = s_.first_key.data()[row], capacity = s_.first_key.data()[row + 1] - first_key;
    const int64_t k = rows_[row].k;
    Key* keys = worker.keys + first_key;
    keys[found.count++] = key_of(score, item);
    if (found.count < capacity || found.count <= k) return;
    std::nth_element(keys, keys + k - 1, keys + found.count, std::greater<Key>());
    found.count = k;
    const float worst = score_of(keys[k - 1]);
    found.settled = std::isnan(worst);
    threshold = found.settled ? kInfinity : std::max(threshold, worst);  // another worker's may be higher
    if (!found.settled) raise(s_.shared.data() + row, worst);
  }

  static void raise(std::atomic<float>* least, float value) {
    float before = least->load(std::memory_order_relaxed);
    while (before < value && !least->compare_exchange_weak(before, value, std::memory_order_relaxed)) {
    }
  }

  // Takes over what other workers found out. A score equal to another's k-th best one may rank before it, by its item.
  void share_thresholds(Worker& worker) const {
    for (int64_t row = 0; row < n_rows_; ++row) {
      const float shared = s_.shared.data()[row].load(std::memory_order_relaxed);
      if (shared > worker.thresholds[row]) worker.thresholds[row] = std::nextafter(shared, -kInfinity);
    }
  }

  void write_row(int64_t row, int64_t worker_index) {
    const RankedRow& to = rows_[row];
    Key* const first = s_.merged.data() + worker_index * merged_size();
    Key* last = first;
    for (int64_t index = 0; index < n_workers_; ++index) {
      const Worker& worker = s_.workers[static_cast<size_t>(index)];
      Key* keys = worker.keys + s_.first_key.data()[row];
      const int64_t count = worker.found[row].count, best = std::min(to.k, count);
      if (best < count) std::nth_element(keys, keys + best, keys + count, std::greater<Key>());
      last = std::copy_n(keys, best, last);
    }
    Key* const end = first + std::min<int64_t>(to.k, last - first);
    std::partial_sort(first, end, last, std::greater<Key>());
    for (int64_t at = 0; at < to.k; ++at) {
      const bool ranked = at < end - first;
      to.top_items[at] = ranked ? item_of(first[at]) : 0;
      to.top_scores[at] = ranked ? score_of(first[at]) : -kInfinity;
    }
  }

  const RankedItems& items_;
  const TopItemsKernels& kernels_;
  const Candidates candidates_;
  const RankedRow* const rows_;
  const int64_t n_rows_;
  PassScratch& s_;
  bool has_index_ = false;
  int64_t largest_capacity_ = 0, largest_k_ = 0, n_workers_ = 0;
  int64_t unit_ = 0, block_ = 0, padded_rows_ = 0;  // items of which a block is a multiple; items; rows
  float *queries_ = nullptr, *packed_queries_ = nullptr;
};

}  // namespace

int64_t kept_candidates(int64_t k, int64_t count) { return std::min(k + std::max(kFewestSpare, k / 2), count); }

bool pays_by_index(int64_t kept, int64_t n_items) { return n_items >= kItemsPerCandidate * kept; }

int64_t PassScratch::bytes() const {
  int64_t total = shared.bytes() + first_key.bytes() + queries.bytes() + packed_queries.bytes() + merged.bytes() +
                  rounded.bytes() + static_cast<int64_t>(groups.capacity() * sizeof(Group));
  for (const Worker& worker : workers) {
    total += worker.threshold_memory.bytes() + worker.copy_memory.bytes() + worker.found_memory.bytes() +
             worker.key_memory.bytes() + worker.hit_memory.bytes();
  }
  return total;
}

void run_pass(const RankedItems& items, Candidates candidates, const RankedRow* rows, int64_t n_rows, int64_t threads,
              const ThreadPool& pool, PassScratch* scratch) {
  Pass(items, candidates, rows, n_rows, threads, scratch).run(pool);
}

}  // namespace recblr
