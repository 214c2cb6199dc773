// Where another way becomes the faster one on the CPU: of computing, of ranking, of sharing work among threads. Which
// way is taken never changes a result.
//
// The values were chosen on 2 cores of an x86-64 server with AVX-512; elsewhere they may be off, which costs time only.
// Each names the benchmark that measures what it is for: to change one, run that with both values.
#pragma once

#include <cstdint>

namespace recblr {

// ---- Threads ----

// Elements of an op along the sequence, or of logits, below which one more thread costs more than it gains: starting a
// team takes some microseconds. benchmarks/kernels.py, small shapes.
constexpr int64_t kElementsPerThread = 32768;

// Products of queries and items below which one more thread costs more than it gains. benchmarks/catalogue.py.
constexpr int64_t kProductsPerThread = 1000000;

// An item that is fed to a model counts as so many of kElementsPerThread's elements, so that some hundred items are
// worth a thread: it may find its core taken by another's, waiting for work. benchmarks/serving.py, whole histories.
constexpr int64_t kElementsOfFedItem = 256;

// An item that is ranked by a model counts as one element for every so many: 16 scores come of one vector.
// benchmarks/core.py, steps.
constexpr int64_t kScoresOfElement = 16;

// Items that a thread feeds at once, if the rows have so many: enough that they share a reading of the weights.
// benchmarks/core.py, steps.
constexpr int64_t kItemsFedAtOnce = 96;

// Rows that a thread ranks at once by all scores: they share a reading of the items, and all their scores are held.
// benchmarks/core.py, steps.
constexpr int64_t kFewestRowsRankedAtOnce = 4, kMostRowsRankedAtOnce = 24;

// ---- Ranking by a model ----

// A model of fewer items has no index: all scores are computed sooner than 8-bit bounds of them.
// benchmarks/core.py, steps, with an N_ITEMS on either side.
constexpr int64_t kFewestIndexed = 2048;

// A model of so many items, or more, ranks every batch by the index and has no copy of the items.
// benchmarks/core.py, steps, with an N_ITEMS on either side.
constexpr int64_t kFewestRankedByIndex = 8192;

// Of a number of items between those two, the index ranks at most so many rows at once, since it takes a quarter of the
// cache that the items do; more rows share a reading of the items, which is sooner done. benchmarks/core.py, steps.
constexpr int64_t kMostRowsByBounds = 3;

// A model of so many items, or more, has no copy of them for want of an index: tiles of their vectors are scored, which
// takes longer. Chosen for its memory.
constexpr int64_t kFewestRankedInTiles = 100000;

// If more than one of so many items may be among a row's best by the index's bounds, all scores are computed.
// benchmarks/core.py, steps.
constexpr int64_t kItemsPerHitOfRow = 4;

// A threshold for a row's best scores is sought where each group of scores has at least so many: of fewer scores, the
// best are picked sooner without one. benchmarks/core.py, steps of many rows.
constexpr int64_t kFewestScoresPerGroup = 4;

// ---- Ranking a catalogue in bounded memory ----

// An index is tried once a worker has met so many items for each candidate that it keeps: before, its threshold is so
// low that too many items pass. benchmarks/catalogue.py.
constexpr int64_t kItemsMetPerCandidate = 8;

// If more than one of so many items of a block pass the index, the block's scores are computed in tiles.
// benchmarks/catalogue.py.
constexpr int64_t kItemsPerHitOfBlock = 8;

// For so many rows an index is used only where there are kItemsPerCandidate items for each candidate of a row: in a
// smaller catalogue too many of the items pass for one of the rows. benchmarks/catalogue.py, 32 and 256 users.
constexpr int64_t kManyRows = 16, kItemsPerCandidate = 300;

// An allow-list of more than one of so many items is ranked by meeting the whole catalogue, with an index: that is
// sooner done than the list's vectors are gathered. benchmarks/catalogue.py, the allow-list.
constexpr int64_t kItemsPerAllowed = 8;

}  // namespace recblr
