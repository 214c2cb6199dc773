// The ranking in bounded memory against sorting all scores, on numbers whose sums are exact in any order.
#include "backends/ranking/top_items.h"

#include <gtest/gtest.h>

#include <cstring>

#include "backends/rankings.h"

namespace recblr::testing {
namespace {

constexpr int64_t kNoIndex = std::numeric_limits<int64_t>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Without an index; with one, used for any number of items, where the machine has one.
RankedItems ranked_items(const std::vector<float>& embedding, int64_t dim, bool indexed) {
  const int64_t n_items = static_cast<int64_t>(embedding.size()) / dim - 1;
  RankedItems items(embedding.data(), n_items, dim, indexed ? 0 : kNoIndex, 1, kProcessThreads);
  items.ranks_by_index = items.index != nullptr;
  return items;
}

TEST(TopItems, AreThoseOfSortingAllScores) {
  Generator generator(11);
  for (int round = 0; round < 60; ++round) {
    const int64_t dims[] = {1, 3, 16, 17, 64};
    const int64_t n_rows = draw(generator, 1, 40), n_items = draw(generator, 0, draw(generator, 0, 5) ? 300 : 6000);
    const int64_t dim = dims[draw(generator, 0, 4)];
    const std::vector<float> embedding = whole_numbers(generator, (n_items + 1) * dim);
    const std::vector<int32_t> shared = some_items(generator, n_items, draw(generator, 0, n_items));
    std::vector<Wish> wishes;
    for (int64_t row = 0; row < n_rows; ++row) {
      Wish wish{whole_numbers(generator, dim), draw(generator, 0, 9) ? draw(generator, 1, 12) : draw(generator, 1, 450),
                some_items(generator, n_items, draw(generator, 0, 1) ? draw(generator, 0, 200) : 0)};
      const int64_t form = draw(generator, 0, 3);
      if (form == 1) wish.only = shared;
      if (form == 2) wish.only = some_items(generator, n_items, draw(generator, 0, 300));
      wishes.push_back(std::move(wish));
    }
    for (const bool indexed : {false, true}) {
      const RankedItems items = ranked_items(embedding, dim, indexed);
      const std::vector<Ranked> ranked = rank_by(items, wishes, static_cast<int>(1 + round % 3));
      for (size_t row = 0; row < wishes.size(); ++row) {
        expect_same(ranked[row], sorted_scores(embedding, dim, wishes[row]));
      }
    }
    if (HasFailure()) FAIL() << "round " << round;
  }
}

TEST(TopItems, RowsThreadsAndListsChangeNoBit) {
  Generator generator(1);
  const int64_t n_items = 30000, dim = 50, n_rows = 70;
  const std::vector<float> embedding = normal(generator, (n_items + 1) * dim);
  for (const bool indexed : {false, true}) {
    const RankedItems items = ranked_items(embedding, dim, indexed);
    std::vector<Wish> wishes;
    for (int64_t row = 0; row < n_rows; ++row) {
      wishes.push_back({normal(generator, dim), 40 + row % 3, some_items(generator, n_items, 8)});
    }
    const std::vector<Ranked> ranked = rank_by(items, wishes, 1);
    for (int threads = 2; threads <= 4; ++threads) EXPECT_EQ(rank_by(items, wishes, threads), ranked);
    for (const auto& [start, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 9}, {9, 42}, {42, 70}}) {
      const std::vector<Ranked> part = rank_by(items, {wishes.begin() + start, wishes.begin() + end}, 2);
      EXPECT_EQ(part, std::vector<Ranked>(ranked.begin() + start, ranked.begin() + end));
    }
    for (Wish& wish : wishes) wish.only = all_items(n_items);
    EXPECT_EQ(rank_by(items, wishes, 2), ranked);
  }
}

TEST(TopItems, NeedSeveralPassesWhereTheCandidatesAreMany) {
  Generator generator(2);
  const int64_t n_items = 60000, dim = 2;
  const std::vector<float> embedding = whole_numbers(generator, (n_items + 1) * dim);
  std::vector<Wish> wishes;  // 720 kB to 1.4 MB of candidates for a row and a thread
  for (int64_t row = 0; row < 100; ++row) wishes.push_back({whole_numbers(generator, dim), n_items - 300 * row});
  for (const bool indexed : {false, true}) {
    const std::vector<Ranked> ranked = rank_by(ranked_items(embedding, dim, indexed), wishes, 2);
    for (const size_t row : {0, 57, 99}) expect_same(ranked[row], sorted_scores(embedding, dim, wishes[row]));
  }
}

TEST(TopItems, OfACatalogueInTheOrderOfItsScores) {
  const int64_t n_items = 20000;
  std::vector<float> embedding;
  for (int64_t item = 0; item <= n_items; ++item) embedding.push_back(static_cast<float>(item));
  for (const float sign : {1.0f, -1.0f}) {
    for (const bool indexed : {false, true}) {
      const std::vector<Wish> wishes(3, Wish{{sign}, 7});
      for (const Ranked& ranked : rank_by(ranked_items(embedding, 1, indexed), wishes, 2)) {
        expect_same(ranked, sorted_scores(embedding, 1, wishes[0]));
      }
    }
  }
}

TEST(TopItems, AreNoneWhereNothingIsLeft) {
  const std::vector<float> embedding(15, 1.0f), query(3, 1.0f);
  const RankedItems items = ranked_items(embedding, 3, false);
  const std::vector<Ranked> ranked = rank_by(
      items, {{query, 2, {1, 2, 3, 4}}, {query, 2}, {query, 2, {}, {{}}}, {query, 2, {3}, {{3}}}, {query, 9, {2}}}, 2);
  const Ranked none{{0, 0}, {-kInfinity, -kInfinity}};
  expect_same(ranked[0], none);
  expect_same(ranked[1], {{1, 2}, {3, 3}});
  expect_same(ranked[2], none);
  expect_same(ranked[3], none);
  EXPECT_EQ(ranked[4].items, (std::vector<int32_t>{1, 3, 4, 0, 0, 0, 0, 0, 0}));
  const std::vector<float> only_row_0(3, 1.0f);
  expect_same(rank_by(ranked_items(only_row_0, 3, false), {{query, 2}}, 1)[0], none);
  EXPECT_TRUE(rank_by(items, {}, 2).empty());
}

TEST(TopItems, OfValuesThatAreNotFinite) {
  Generator generator(3);
  const int64_t n_items = 3000, dim = 8;
  std::vector<float> embedding = whole_numbers(generator, (n_items + 1) * dim);
  const auto fill = [&](int64_t item, float value) { std::fill_n(embedding.begin() + item * dim, dim, value); };
  for (const int64_t item : {5, 900, 2999}) fill(item, std::nanf(""));
  for (const int64_t item : {7, 1000}) fill(item, kInfinity);
  for (const int64_t item : {8, 1001}) fill(item, -kInfinity);
  std::vector<Wish> wishes{{whole_numbers(generator, dim), 20}, {whole_numbers(generator, dim), 20}};
  for (const float value : {std::nanf(""), kInfinity, -kInfinity, 0.0f}) {
    wishes.push_back({std::vector<float>(dim, value), 20});
  }
  for (const bool indexed : {false, true}) {
    for (const int threads : {1, 2}) {
      const std::vector<Ranked> ranked = rank_by(ranked_items(embedding, dim, indexed), wishes, threads);
      for (size_t row = 0; row < wishes.size(); ++row) {
        expect_same(ranked[row], sorted_scores(embedding, dim, wishes[row]));
        EXPECT_TRUE(std::isnan(ranked[row].scores[0]));
      }
    }
  }
}

TEST(TopItems, TakeMinusZeroForZero) {
  const std::vector<float> embedding{0.0f, -0.0f, 0.0f, -0.0f};
  EXPECT_EQ(rank_by(ranked_items(embedding, 1, false), {{{1.0f}, 3}}, 1)[0].items, (std::vector<int32_t>{1, 2, 3}));
}

TEST(TopItems, OfAnEmbeddingAtAnyAddress) {
  Generator generator(4);
  const int64_t n_items = 500, dim = 20;
  const std::vector<float> embedding = whole_numbers(generator, (n_items + 1) * dim);
  std::vector<unsigned char> shifted(embedding.size() * sizeof(float) + 1);
  std::memcpy(shifted.data() + 1, embedding.data(), embedding.size() * sizeof(float));
  const std::vector<Wish> wishes(3, Wish{whole_numbers(generator, dim), 10});
  for (const int64_t fewest_indexed : {int64_t{0}, kNoIndex}) {
    RankedItems items(shifted.data() + 1, n_items, dim, fewest_indexed, 2, kProcessThreads);
    items.ranks_by_index = items.index != nullptr;
    for (const Ranked& ranked : rank_by(items, wishes, 1)) {
      expect_same(ranked, sorted_scores(embedding, dim, wishes[0]));
    }
  }
}

}  // namespace
}  // namespace recblr::testing
