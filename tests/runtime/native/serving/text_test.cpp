#include "serving/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace recblr::serving {
namespace {

TEST(Text, ShowsValuesInOneLineOfUtf8) {
  EXPECT_EQ(shown("item-1"), "'item-1'");
  EXPECT_EQ(shown("it's"), "'it\\'s'");
  EXPECT_EQ(shown("a\nb"), "'a\\x0ab'");
  EXPECT_EQ(shown("caf\xc3\xa9"), "'caf\xc3\xa9'");
  EXPECT_EQ(shown("\xff\xc3"), "'\\xff\\xc3'");
  EXPECT_EQ(shown("\xed\xa0\x80"), "'\\xed\\xa0\\x80'");  // half of a surrogate pair
  EXPECT_EQ(shown(std::string_view("\0", 1)), "'\\x00'");
  EXPECT_EQ(shown(""), "''");
}

TEST(Text, CutsLongValues) {
  EXPECT_EQ(shown(std::string(60, 'a')), "'" + std::string(60, 'a') + "'");
  EXPECT_EQ(shown(std::string(1 << 20, 'a')), "'" + std::string(60, 'a') + "...");
}

TEST(Text, ShowsLists) {
  EXPECT_EQ(shown_list(std::vector<int64_t>{}), "[]");
  EXPECT_EQ(shown_list(std::vector<int64_t>{2, -3}), "[2, -3]");
  EXPECT_LT(shown_list(std::vector<int64_t>(1000, 12345)).size(), 100U);
}

TEST(Text, GroupsDigits) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(-999), "-999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
}

}  // namespace
}  // namespace recblr::serving
