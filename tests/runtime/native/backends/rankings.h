// Random catalogues and rankings of them, and the same by sorting all scores. Arrays are of exactly the documented
// size, so that AddressSanitizer sees any access outside them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/ranking/ranked_items.h"
#include "backends/ranking/top_items.h"
#include "backends/thread_team.h"

namespace recblr::testing {

using Generator = std::mt19937;

inline int64_t draw(Generator& generator, int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(generator);
}

// Whole numbers of at most `most`, whose sums are exact in any order, and which have many ties.
inline std::vector<float> whole_numbers(Generator& generator, int64_t count, int most = 3) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(draw(generator, -most, most));
  return values;
}

inline std::vector<float> normal(Generator& generator, int64_t count, float scale = 1.0f) {
  std::normal_distribution<float> distribution(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(generator);
  return values;
}

// About `count` items from 1 to n_items, ascending and each once.
inline std::vector<int32_t> some_items(Generator& generator, int64_t n_items, int64_t count) {
  std::set<int32_t> items;
  for (int64_t at = 0; at < count && n_items > 0; ++at) {
    items.insert(static_cast<int32_t>(draw(generator, 1, n_items)));
  }
  return {items.begin(), items.end()};
}

inline std::vector<int32_t> all_items(int64_t n_items) {
  std::vector<int32_t> items;
  for (int64_t item = 1; item <= n_items; ++item) items.push_back(static_cast<int32_t>(item));
  return items;
}

inline ItemList view(const std::vector<int32_t>& items) { return {items.data(), static_cast<int64_t>(items.size())}; }

// What one row asks for.
struct Wish {
  std::vector<float> query;
  int64_t k;
  std::vector<int32_t> exclude{};
  std::optional<std::vector<int32_t>> only{};
};

// A result, comparable bit for bit.
struct Ranked {
  std::vector<int32_t> items;
  std::vector<float> scores;

  bool operator==(const Ranked& other) const {
    const auto same = [](float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; };
    return items == other.items &&
           std::equal(scores.begin(), scores.end(), other.scores.begin(), other.scores.end(), same);
  }
};

// The rankings that `rank` gives for rows whose state is their query alone. Allow-lists that are equal share memory,
// as those of requests for one AllowList do.
inline std::vector<Ranked> rank_wishes(const std::vector<Wish>& wishes,
                                       const std::function<void(const Row* rows, int64_t n_rows)>& rank) {
  std::vector<Ranked> ranked(wishes.size());
  std::vector<std::vector<float>> states;
  std::vector<Row> rows(wishes.size());
  for (const Wish& wish : wishes) states.push_back(wish.query);
  for (size_t at = 0; at < wishes.size(); ++at) {
    ranked[at].items.assign(static_cast<size_t>(wishes[at].k), -1);
    ranked[at].scores.assign(static_cast<size_t>(wishes[at].k), 7.0f);
    Row& row = rows[at];
    row.state_out = states[at].data();
    row.exclude = view(wishes[at].exclude);
    row.has_only = wishes[at].only.has_value();
    for (size_t other = 0; row.has_only && other <= at; ++other) {
      if (wishes[other].only != wishes[at].only) continue;
      row.only = view(*wishes[other].only);
      break;
    }
    row.k = wishes[at].k;
    row.top_items = ranked[at].items.data();
    row.top_scores = ranked[at].scores.data();
  }
  rank(rows.data(), static_cast<int64_t>(rows.size()));
  return ranked;
}

// `top_items` for wishes.
inline std::vector<Ranked> rank_by(const RankedItems& items, const std::vector<Wish>& wishes, int threads) {
  const ThreadTeam team(threads);
  TopItemsScratch scratch;
  return rank_wishes(wishes, [&](const Row* rows, int64_t n_rows) {
    for (int64_t row = 0; row < n_rows; ++row) {
      scratch.rows.push_back(RankedRow::of(rows[row], items.dim, items.dim));
    }
    top_items(items, threads, team.pool(), &scratch);
  });
}

// The same by sorting all scores, summed in the order of the dimensions.
inline Ranked sorted_scores(const std::vector<float>& embedding, int64_t dim, const Wish& wish) {
  const int64_t n_items = static_cast<int64_t>(embedding.size()) / dim - 1;
  std::vector<std::pair<float, int32_t>> found;
  for (const int32_t item : wish.only.has_value() ? *wish.only : all_items(n_items)) {
    if (std::binary_search(wish.exclude.begin(), wish.exclude.end(), item)) continue;
    float score = 0.0f;
    for (int64_t d = 0; d < dim; ++d) score += wish.query[static_cast<size_t>(d)] * embedding[item * dim + d];
    if (score != -std::numeric_limits<float>::infinity()) found.emplace_back(score, item);
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    const bool a_nan = std::isnan(a.first), b_nan = std::isnan(b.first);
    if (a_nan != b_nan) return a_nan;
    if (!a_nan && a.first != b.first) return a.first > b.first;
    return a.second < b.second;
  });
  Ranked ranked;
  for (int64_t at = 0; at < wish.k; ++at) {
    const bool there = at < static_cast<int64_t>(found.size());
    ranked.items.push_back(there ? found[static_cast<size_t>(at)].second : 0);
    ranked.scores.push_back(there ? found[static_cast<size_t>(at)].first : -std::numeric_limits<float>::infinity());
  }
  return ranked;
}

// Equal as numbers: -0 is 0, and one NaN is another.
inline void expect_same(const Ranked& ranked, const Ranked& expected) {
  EXPECT_EQ(ranked.items, expected.items);
  ASSERT_EQ(ranked.scores.size(), expected.scores.size());
  for (size_t at = 0; at < expected.scores.size(); ++at) {
    if (std::isnan(expected.scores[at])) {
      EXPECT_TRUE(std::isnan(ranked.scores[at])) << at;
    } else {
      EXPECT_EQ(ranked.scores[at], expected.scores[at]) << at;
    }
  }
}

}  // namespace recblr::testing
