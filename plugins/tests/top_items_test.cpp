// Ranks random catalogues, with an index and without, and compares with sorting all scores.
//
// Arrays are of exactly the documented size, so that AddressSanitizer sees any access outside them. RECBLR_CPU_ISA
// chooses the instruction set. Prints what failed, and ends with status 1 if anything did.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "recblr/plugins.h"

namespace {

int failures = 0;
std::mt19937 generator(11);

void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

enum class Values { kAny, kLargest };

// Whole numbers, so that every order of summation is exact. If only the largest, of either sign, an index's products
// are the largest that it has to sum, and it knows every score exactly.
std::vector<float> random(int64_t size, Values which) {
  std::uniform_int_distribution<int> value(-20, 20);
  std::vector<float> values(static_cast<size_t>(size));
  for (float& v : values) {
    v = static_cast<float>(value(generator));
    if (which == Values::kLargest) v = v < 0 ? -20.0f : 20.0f;
  }
  return values;
}

void test(int64_t n_rows, int64_t n_items, int64_t dim, int64_t k, int32_t threads, Values which = Values::kAny) {
  const std::string what = std::to_string(n_rows) + " rows, " + std::to_string(n_items) + " items of " +
                           std::to_string(dim) + ", k " + std::to_string(k) + ", " + std::to_string(threads) +
                           " threads" + (which == Values::kLargest ? ", the largest values" : "");
  const std::vector<float> queries = random(n_rows * dim, which), embedding = random((n_items + 1) * dim, which);
  recblr_item_index* index = nullptr;
  check(recblr_item_index_create(embedding.data(), n_items, dim, threads, &index) == RECBLR_OK, what + ": an index");
  std::vector<int32_t> allowed;
  allowed.reserve(1);  // an empty list is not NULL
  for (int64_t item = 1; item <= n_items; ++item) {
    if (generator() % 3 != 0) allowed.push_back(static_cast<int32_t>(item));
  }
  for (int way = 0; way < 4; ++way) {
    const recblr_item_index* used = way % 2 == 0 ? nullptr : index;
    const bool restricted = way >= 2;
    std::vector<int32_t> items(static_cast<size_t>(n_rows * k));
    std::vector<float> scores(items.size());
    recblr_top_items a{};
    a.n_rows = n_rows;
    a.n_items = n_items;
    a.dim = dim;
    a.k = k;
    a.n_threads = threads;
    a.queries = queries.data();
    a.embedding = embedding.data();
    a.index = used;
    if (restricted) {
      a.only = allowed.data();
      a.n_only = static_cast<int64_t>(allowed.size());
    }
    a.top_items = items.data();
    a.top_scores = scores.data();
    check(recblr_top_items_cpu(&a) == RECBLR_OK, what + ": " + recblr_last_error());
    for (int64_t row = 0; row < n_rows; ++row) {
      std::vector<std::pair<float, int32_t>> all;
      for (int64_t item = 1; item <= n_items; ++item) {
        if (restricted && !std::binary_search(allowed.begin(), allowed.end(), item)) continue;
        float score = 0.0f;
        for (int64_t d = 0; d < dim; ++d) score += queries[row * dim + d] * embedding[item * dim + d];
        all.emplace_back(-score, static_cast<int32_t>(item));
      }
      std::sort(all.begin(), all.end());
      bool same = true;
      for (int64_t at = 0; at < k; ++at) {
        const bool there = at < static_cast<int64_t>(all.size());
        same = same && items[row * k + at] == (there ? all[at].second : 0) &&
               scores[row * k + at] == (there ? -all[at].first : -INFINITY);
      }
      check(same, what + (used == nullptr ? "" : ", with an index") + (restricted ? ", restricted" : "") + ": row " +
                      std::to_string(row));
    }
    a.n_items = n_items + 1;
    if (used != nullptr) check(recblr_top_items_cpu(&a) == RECBLR_INVALID_ARGUMENT, what + ": another's index");
  }
  recblr_item_index_destroy(index);
}

}  // namespace

int main() {
  for (int64_t n_rows : {1, 3, 8, 17}) {
    for (int64_t n_items : {0, 1, 15, 16, 777, 6001}) {
      test(n_rows, n_items, 1 + n_rows * 5 % 23, 5, 1);
      test(n_rows, n_items, 64, 12, 2);
      test(n_rows, n_items, 20, 12, 1, Values::kLargest);
    }
  }
  test(2, 3000, 4, 4000, 2);
  if (failures == 0) std::printf("the rankings agree\n");
  return failures == 0 ? 0 : 1;
}
