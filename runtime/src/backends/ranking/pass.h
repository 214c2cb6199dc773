// One pass over candidates, for several rows at once. Items are scored tile by tile; only scores above the k-th best of
// their row so far are kept, so that memory does not grow with the catalogue. With an index, most tiles are not scored
// at all.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "backends/ranking/key.h"
#include "backends/ranking/ranked_items.h"
#include "backends/ranking/rounded_queries.h"
#include "backends/scratch.h"

namespace recblr {

// What is met: items 1 to V, or those of a list.
struct Candidates {
  const int32_t* items;  // NULL for all
  int64_t count;

  int32_t item(int64_t at) const { return items == nullptr ? static_cast<int32_t>(at + 1) : items[at]; }
};

// Keys that are kept for a row's k best of so many candidates.
int64_t kept_candidates(int64_t k, int64_t count);

// Whether the kept candidates are so few, beside the items, that an index pays for any number of rows.
bool pays_by_index(int64_t kept, int64_t n_items);

// Memory that passes use again.
struct PassScratch {
  // Rows whose queries are scored together, from `first` on.
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
    float* thresholds;  // [padded rows, and kMostIndexRows]
    Found* found;       // [rows]
    Key* keys;          // [rows, each row's kept candidates]; what is not needed takes no memory
    float* copies;
    IndexHit* hits;
    int64_t met;  // items
    Buffer<float> threshold_memory, copy_memory;
    Buffer<Found> found_memory;
    Buffer<Key> key_memory;
    Buffer<IndexHit> hit_memory;
  };

  int64_t bytes() const;

  std::vector<Worker> workers;
  std::vector<Group> groups;
  Buffer<std::atomic<float>> shared;  // [rows]: the k-th best score of any worker
  Buffer<int64_t> first_key;          // [rows + 1]: where a row's keys begin
  Buffer<float> queries;              // [rows, dim]
  Buffer<float> packed_queries;       // per group [dim, rows of the group]
  Buffer<Key> merged;                 // [workers, workers * the largest k]
  RoundedQueries rounded;
};

// Ranks the candidates for rows: all items, of which each row's allow-list admits some, or the one list of all rows.
void run_pass(const RankedItems& items, Candidates candidates, const RankedRow* rows, int64_t n_rows, int64_t threads,
              const ThreadPool& pool, PassScratch* scratch);

}  // namespace recblr
