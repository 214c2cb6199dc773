// Rankings with an index against the same rankings without one, bit for bit.
#include "backends/ranking/item_index.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "backends/ranking/rounded_queries.h"
#include "backends/rankings.h"

namespace recblr::testing {
namespace {

class ItemIndexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    IndexKernels kernels;
    if (!best_index_kernels(&kernels)) GTEST_SKIP() << "these instructions cannot use an index";
  }
};

void expect_no_bit_changes(const std::vector<float>& embedding, int64_t dim, const std::vector<Wish>& wishes) {
  const int64_t n_items = static_cast<int64_t>(embedding.size()) / dim - 1;
  const RankedItems plain(embedding.data(), n_items, dim, n_items + 1, 1, kProcessThreads);
  RankedItems indexed(embedding.data(), n_items, dim, 0, 2, kProcessThreads);
  ASSERT_EQ(plain.index, nullptr);
  ASSERT_NE(indexed.index, nullptr);
  indexed.ranks_by_index = true;
  const std::vector<Ranked> expected = rank_by(plain, wishes, 1);
  for (const int threads : {1, 2, 3}) EXPECT_EQ(rank_by(indexed, wishes, threads), expected) << threads << " threads";
}

std::vector<Wish> wishes_of(Generator& generator, int64_t n_rows, int64_t dim, int64_t k) {
  std::vector<Wish> wishes;
  for (int64_t row = 0; row < n_rows; ++row) wishes.push_back({normal(generator, dim), k});
  return wishes;
}

TEST_F(ItemIndexTest, ChangesNoBit) {
  Generator generator(1);
  for (int round = 0; round < 20; ++round) {
    const int64_t dims[] = {1, 3, 16, 17, 64};
    const int64_t dim = dims[draw(generator, 0, 4)], n_items = draw(generator, 0, 9000);
    std::vector<float> embedding = normal(generator, (n_items + 1) * dim);
    std::vector<Wish> wishes = wishes_of(generator, draw(generator, 1, 40), dim, draw(generator, 1, 60));
    const bool whole = round % 2 == 0;  // equal scores, many
    for (float& value : embedding) value = whole ? std::rint(2 * value) : value;
    for (Wish& wish : wishes) {
      wish.exclude = some_items(generator, n_items, draw(generator, 0, 20));
      for (float& value : wish.query) value = whole ? std::rint(2 * value) : value;
    }
    expect_no_bit_changes(embedding, dim, wishes);
  }
}

TEST_F(ItemIndexTest, TakesBatchesAndDepthsOfAllSizes) {
  Generator generator(2);
  const std::vector<float> embedding = normal(generator, 40001 * 48);
  for (const int64_t n_rows : {1, 4, 9, 33}) {
    for (const int64_t k : {1, 10, 100, 1000}) {
      expect_no_bit_changes(embedding, 48, wishes_of(generator, n_rows, 48, k));
    }
  }
  for (int64_t n_rows = 2; n_rows <= 17; ++n_rows) {  // groups filled to any part
    expect_no_bit_changes(embedding, 48, wishes_of(generator, n_rows, 48, 10));
  }
  expect_no_bit_changes(normal(generator, 701 * 8), 8, wishes_of(generator, 3, 8, 900));
}

TEST_F(ItemIndexTest, TakesAllowListsOfAllLengthsSideBySide) {
  Generator generator(3);
  const int64_t n_items = 30000, dim = 32;
  const std::vector<float> embedding = normal(generator, (n_items + 1) * dim);
  for (const int64_t k : {20, 2000}) {
    std::vector<Wish> wishes = wishes_of(generator, 12, dim, k);
    const double shares[] = {0.5, 0.9, 0.01, 0.0, 0.001, 0.5, 0.01, 0.2, 3.0, 0.1, 0.1, 0.3};
    for (size_t row = 0; row + 2 < wishes.size(); ++row) {
      wishes[row].exclude = some_items(generator, n_items, 30);
      wishes[row].only = some_items(generator, n_items, static_cast<int64_t>(shares[row] * n_items));
    }
    wishes[5].only = wishes[0].only;
    wishes[6].only = wishes[2].only;
    expect_no_bit_changes(embedding, dim, wishes);
  }
}

TEST_F(ItemIndexTest, TellsScoresApartThatAreCloserThan8Bits) {
  Generator generator(4);
  std::vector<float> embedding = normal(generator, 20001 * 32, 1e-6f);
  std::vector<Wish> wishes = wishes_of(generator, 9, 32, 20);
  for (float& value : embedding) value += 1;
  for (Wish& wish : wishes) {
    for (float& value : wish.query) value = 1 + 1e-6f * value;
  }
  expect_no_bit_changes(embedding, 32, wishes);
}

TEST_F(ItemIndexTest, TakesAllMagnitudes) {
  Generator generator(5);
  for (const auto& [low, high] : std::vector<std::pair<float, float>>{{-3, 3}, {-20, 18}, {-45, -30}, {-44, 38}}) {
    std::uniform_real_distribution<float> exponent(low, high);
    const auto scale = [&](float* vector) {
      const double factor = std::pow(10.0, exponent(generator));
      for (int d = 0; d < 16; ++d) vector[d] = static_cast<float>(vector[d] * factor);
    };
    std::vector<float> embedding = normal(generator, 20001 * 16);
    std::vector<Wish> wishes = wishes_of(generator, 12, 16, 10);
    for (int64_t item = 0; item <= 20000; ++item) scale(embedding.data() + item * 16);
    for (Wish& wish : wishes) scale(wish.query.data());
    expect_no_bit_changes(embedding, 16, wishes);
  }
}

TEST_F(ItemIndexTest, TakesOneLargeComponent) {
  Generator generator(6);
  std::vector<float> embedding = normal(generator, 20001 * 64);
  for (size_t at = 0; at < embedding.size(); at += 64) embedding[at] *= 1e4f;  // of the others 8 bits keep little
  std::vector<Wish> wishes = wishes_of(generator, 9, 64, 10);
  for (Wish& wish : wishes) wish.query[0] = 0.0f;
  expect_no_bit_changes(embedding, 64, wishes);
}

TEST_F(ItemIndexTest, TakesTheLargestProducts) {
  Generator generator(7);
  const auto largest = [&](int64_t count) {
    std::vector<float> values = normal(generator, count);
    for (float& value : values) value = value < 0 ? -20.0f : 20.0f;
    return values;
  };
  std::vector<Wish> wishes;
  for (int row = 0; row < 9; ++row) wishes.push_back({largest(20), 12});
  expect_no_bit_changes(largest(6002 * 20), 20, wishes);
}

TEST_F(ItemIndexTest, TakesZerosAndValuesThatAreNotFinite) {
  Generator generator(8);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> embedding = normal(generator, 20001 * 8);
  std::fill_n(embedding.begin() + 3000 * 8, 100 * 8, 0.0f);
  for (const int64_t item : {5, 9000, 19999}) std::fill_n(embedding.begin() + item * 8, 8, std::nanf(""));
  for (const int64_t item : {7, 10000}) embedding[item * 8 + 2] = kInfinity;
  for (const int64_t item : {8, 10001}) embedding[item * 8 + 3] = -kInfinity;
  std::vector<Wish> wishes = wishes_of(generator, 9, 8, 10);
  wishes[1].query.assign(8, std::nanf(""));
  wishes[2].query.assign(8, 0.0f);
  wishes[3].query[2] = kInfinity;
  expect_no_bit_changes(embedding, 8, wishes);
  expect_no_bit_changes(std::vector<float>(embedding.size()), 8, wishes);
}

// They fill up groups. With hits for them, a scan is given up, and takes ten times as long.
TEST_F(ItemIndexTest, FindsNothingForRowsThatAreNotThere) {
  Generator generator(9);
  const int64_t n_items = 1600, dim = 64;
  const std::vector<float> embedding = normal(generator, (n_items + 1) * dim);
  const RankedItems items(embedding.data(), n_items, dim, 0, 1, kProcessThreads);
  const std::vector<float> thresholds(64 + kMostIndexRows, std::numeric_limits<float>::infinity());
  for (int64_t n_rows = 1; n_rows <= 20; ++n_rows) {
    const std::vector<float> queries = normal(generator, n_rows * dim);
    RoundedQueries rounded;
    rounded.round(queries.data(), n_rows, *items.index, items.index_kernels);
    std::vector<IndexHit> hits(1 << 16);
    IndexScan scan = rounded.scan(thresholds.data());
    scan.items = items.index->items;
    scan.bounds = items.index->bounds;
    scan.n_panels = n_items / kIndexPanel;
    scan.hits = hits.data();
    scan.most_hits = static_cast<int64_t>(hits.size());
    EXPECT_TRUE(items.index_kernels.scan[rounded.size()](&scan)) << n_rows;
    EXPECT_EQ(scan.n_hits, 0) << n_rows;
  }
}

TEST(ItemIndexKernels, AreThoseThatAreAllowed) {
  IndexKernels kernels;
  const char* allowed = std::getenv("RECBLR_CPU_ISA");
  const bool baseline = allowed != nullptr && std::string(allowed) == "baseline";
#if defined(RECBLR_X86)
  EXPECT_EQ(best_index_kernels(&kernels), !baseline && __builtin_cpu_supports("avx2"));
#else
  EXPECT_FALSE(best_index_kernels(&kernels));
#endif
}

}  // namespace
}  // namespace recblr::testing
