#include "backends/catalogue.h"

#include <gtest/gtest.h>

#include "backends/rankings.h"
#include "base/error.h"

namespace recblr::testing {
namespace {

TEST(Catalogue, RanksByTheEndOfTheStates) {
  Generator generator(1);
  for (const int64_t n_items : {50, 9000}) {
    const int64_t dim = 6, state_size = 10;
    const std::vector<float> embedding = whole_numbers(generator, (n_items + 1) * dim);
    const Catalogue catalogue(embedding.data(), n_items, dim, state_size, 2);
    std::vector<Wish> wishes;
    for (int row = 0; row < 5; ++row) wishes.push_back({whole_numbers(generator, state_size), 5 + row});
    wishes[1].exclude = some_items(generator, n_items, 30);
    wishes[2].only = some_items(generator, n_items, 20);
    wishes[3].only = all_items(n_items);
    wishes[4].k = 0;
    const std::vector<Ranked> ranked =
        rank_wishes(wishes, [&](const Row* rows, int64_t n_rows) { catalogue.rank(rows, n_rows); });
    for (size_t row = 0; row < wishes.size(); ++row) {
      Wish wish = wishes[row];
      wish.query.erase(wish.query.begin(), wish.query.begin() + state_size - dim);
      expect_same(ranked[row], sorted_scores(embedding, dim, wish));
    }
  }
}

TEST(Catalogue, OfZerosRanksByTheItem) {
  const Catalogue catalogue(nullptr, 9000, 4, 4, 1);
  const std::vector<Ranked> ranked =
      rank_wishes({{{1, 2, 3, 4}, 3, {2}}}, [&](const Row* rows, int64_t n_rows) { catalogue.rank(rows, n_rows); });
  expect_same(ranked[0], {{1, 3, 4}, {0, 0, 0}});
}

TEST(Catalogue, RefusesListsBeyondItsItems) {
  const std::vector<float> embedding(12, 1.0f), query(2, 1.0f);
  const Catalogue catalogue(embedding.data(), 5, 2, 2, 1);
  const auto message = [&](const Wish& wish) -> std::string {
    try {
      rank_wishes({wish}, [&](const Row* rows, int64_t n_rows) { catalogue.rank(rows, n_rows); });
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({query, 2, {1, 6}}), "an item to exclude is 6: it must be from 1 to 5");
  EXPECT_EQ(message({query, 2, {0, 2}}), "an item to exclude is 0: it must be from 1 to 5");
  EXPECT_EQ(message({query, 2, {}, {{3, 7}}}), "an item to rank is 7: it must be from 1 to 5");
  EXPECT_EQ(message({query, 2, {1, 5}, {{1, 5}}}), "");
  EXPECT_THROW(Catalogue(embedding.data(), 5, 2, 2, 0), Error);
}

}  // namespace
}  // namespace recblr::testing
