// A request as callers give it, and the memory in which it is answered.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "backends/backend.h"
#include "base/ids.h"
#include "batching/executor.h"
#include "bundle/bundle.h"
#include "engine/allow_list.h"

namespace recblr {

// Which items may be ranked. Without ids and lists: all.
struct Only {
  bool per_row = false;                     // one entry for each row; otherwise one for all rows
  const Ids* ids = nullptr;                 // as many rows as there are entries, or NULL
  const uint8_t* all = nullptr;             // [entries] 1: this one may have all items; NULL: none
  const AllowList* const* lists = nullptr;  // [entries] NULL where the ids count; NULL: no such lists
  int64_t n_entries = 0;                    // 0: all items for all rows
};

// Views; nothing is owned.
struct Request {
  const Ids* items = nullptr;            // per row the history, or what is new since its state
  const char* items_name = "histories";  // for messages: "histories" or "new_items"
  const float* states = nullptr;         // [B, S]; NULL: all rows are new users
  float* new_states = nullptr;           // [B, S] written; NULL where nobody wants them
  bool exclude_seen = false;             // leave out the row's own items
  const Ids* exclude = nullptr;          // B rows, or NULL
  Only only;
  int64_t k = 0;                  // 0: kDefaultK, or all items of a smaller catalogue
  std::optional<double> timeout;  // seconds that it may wait
  bool may_run_here = false;      // `submit` may run it in its caller's thread
};

constexpr int64_t kDefaultK = 10;  // results per row where none are asked for

// One row's best items.
struct Ranking {
  const int32_t* items;  // [count] indices, best first
  const float* scores;   // [count]
  int64_t count;         // k, or fewer where exclusions and allow-list leave no more
  int64_t unknown;       // ids that the model does not know; they were skipped
  bool popular;          // nothing is known of the user: the most popular items, scored by their counts
};

// A request in the model's indices, its results, and all memory for both. Used again, it takes no more memory from the
// heap. One request at a time.
struct Work {
  int64_t n_rows = 0, k = 0;
  std::vector<int32_t> items;            // all rows' items, one row after another
  std::vector<int64_t> item_offsets;     // [B + 1]
  std::vector<int32_t> exclude;          // each row's, ascending, each once
  std::vector<int64_t> exclude_offsets;  // [B + 1]
  std::vector<int32_t> only;             // lists that the request gave as ids, one after another
  std::vector<int64_t> only_offsets;     // of those lists
  std::vector<ItemList> allowed;         // [B], of has_only rows
  std::vector<uint8_t> has_only;         // [B], or empty: none has
  std::vector<std::shared_ptr<const std::vector<int32_t>>> held;  // allow-lists in use
  std::vector<int64_t> unknown;                                   // [B]
  const float* states = nullptr;                                  // [B, S], or NULL for new users
  float* new_states = nullptr;                                    // [B, S]: the caller's, or own_states
  std::vector<float> own_states;
  std::vector<int32_t> top_items;  // [B, k]
  std::vector<float> top_scores;   // [B, k]
  std::vector<int64_t> counts;     // [B]
  std::vector<uint8_t> popular;    // [B]
  std::vector<Row> rows;           // [B], pointing into the above
  Done done;                       // of a request that was submitted

  Ranking ranking(int64_t row) const {
    return {top_items.data() + row * k, top_scores.data() + row * k, counts[static_cast<size_t>(row)],
            unknown[static_cast<size_t>(row)], popular[static_cast<size_t>(row)] != 0};
  }
};

}  // namespace recblr
