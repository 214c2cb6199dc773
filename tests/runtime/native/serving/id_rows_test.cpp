#include "serving/id_rows.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace recblr::serving {
namespace {

std::vector<std::vector<int64_t>> integers(const IdRows& rows) {
  const recblr_ids ids = rows.view();
  EXPECT_EQ(ids.type, RECBLR_INTEGER_IDS);
  std::vector<std::vector<int64_t>> read;
  for (int64_t b = 0; b < ids.n_rows; ++b) {
    read.emplace_back(ids.integers + ids.offsets[b], ids.integers + ids.offsets[b + 1]);
  }
  return read;
}

std::vector<std::vector<std::string>> strings(const IdRows& rows) {
  const recblr_ids ids = rows.view();
  EXPECT_EQ(ids.type, RECBLR_STRING_IDS);
  std::vector<std::vector<std::string>> read;
  for (int64_t b = 0; b < ids.n_rows; ++b) {
    read.emplace_back();
    for (int64_t j = ids.offsets[b]; j < ids.offsets[b + 1]; ++j) {
      read.back().emplace_back(ids.text + ids.text_offsets[j], ids.text + ids.text_offsets[j + 1]);
    }
  }
  return read;
}

using Strings = std::vector<std::vector<std::string>>;
using Integers = std::vector<std::vector<int64_t>>;

TEST(IdRows, KeepsIntegers) {
  IdRows rows;
  EXPECT_EQ(rows.n_rows(), 0);
  rows.add(int64_t{3});
  rows.add(INT64_MIN);
  rows.end_row();
  rows.end_row();
  EXPECT_EQ(integers(rows), (Integers{{3, INT64_MIN}, {}}));
  EXPECT_EQ(rows.n_ids(), 2);
  EXPECT_EQ(rows.size(0), 2);
  EXPECT_EQ(rows.size(1), 0);
}

TEST(IdRows, TurnsAllIntoStringsWithTheFirst) {
  IdRows rows;
  rows.add(int64_t{-3});
  rows.end_row();
  rows.add(int64_t{7});
  rows.add("");
  rows.add(int64_t{8});
  rows.add_big_integer("92233720368547758080");
  const int64_t more[] = {9, 10};
  rows.add_integers(reinterpret_cast<const char*>(more), 2);
  rows.end_row();
  EXPECT_TRUE(rows.has_strings());
  EXPECT_EQ(strings(rows), (Strings{{"-3"}, {"7", "", "8", "92233720368547758080", "9", "10"}}));
  EXPECT_EQ(rows.n_ids(), 7);
}

TEST(IdRows, TakesManyFromAnyAddress) {
  char bytes[3 * 8 + 1];
  const int64_t ids[] = {1, -2, 3};
  std::memcpy(bytes + 1, ids, sizeof ids);
  IdRows rows;
  rows.add(int64_t{0});
  rows.add_integers(bytes + 1, 3);
  rows.add_integers(nullptr, 0);
  rows.end_row();
  EXPECT_EQ(integers(rows), (Integers{{0, 1, -2, 3}}));
}

TEST(IdRows, IsUsedAgain) {
  IdRows rows;
  rows.add("a");
  rows.end_row();
  rows.clear();
  EXPECT_EQ(rows.n_rows(), 0);
  EXPECT_EQ(rows.n_ids(), 0);
  rows.add(int64_t{5});
  rows.end_row();
  EXPECT_EQ(integers(rows), (Integers{{5}}));
}

}  // namespace
}  // namespace recblr::serving
