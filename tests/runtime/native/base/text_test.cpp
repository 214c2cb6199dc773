#include "base/text.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace recblr {
namespace {

// What recblr.errors.shown returns for the same texts.
TEST(Shown, IsPythonsRepr) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "''"},
      {"plain", "'plain'"},
      {"it's", "\"it's\""},
      {"both ' and \"", "'both \\' and \"'"},
      {"back\\slash", "'back\\\\slash'"},
      {"tab\tline\nreturn\r", "'tab\\tline\\nreturn\\r'"},
      {std::string("nul\0", 4), "'nul\\x00'"},
      {"\x7f", "'\\x7f'"},
      {"é ü 中 \xf0\x9f\x98\x80", "'é ü 中 \xf0\x9f\x98\x80'"},
      {"\xc2\xa0\xe2\x80\xa8", "'\\xa0\\u2028'"},
      {"\xf3\xa0\x80\x81", "'\\U000e0001'"},
      {"\xff", "'\\udcff'"},
      {"\xe4\xb8", "'\\udce4\\udcb8'"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(shown(text), expected);
}

TEST(Shown, IsAtMost60Characters) {
  EXPECT_EQ(shown(std::string(58, 'x')), "'" + std::string(58, 'x') + "'");
  EXPECT_EQ(shown(std::string(59, 'x')), "'" + std::string(56, 'x') + "...");
  EXPECT_EQ(shown(std::string(1000000, 'x')), "'" + std::string(56, 'x') + "...");
  std::string umlauts, cut = "'";
  for (int i = 0; i < 70; ++i) umlauts += "ü";
  for (int i = 0; i < 56; ++i) cut += "ü";
  EXPECT_EQ(shown(umlauts), cut + "...");
  EXPECT_EQ(shown(std::string(55, 'x') + "\n\n\n"), "'" + std::string(55, 'x') + "\\...");
}

TEST(Grouped, HasACommaEveryThreeDigits) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(grouped(-123), "-123");
  EXPECT_EQ(grouped(-1234), "-1,234");
  EXPECT_EQ(grouped(INT64_MIN), "-9,223,372,036,854,775,808");
}

TEST(Written, NumbersAreAsPythonWritesThem) {
  EXPECT_EQ(written(0.01), "0.01");
  EXPECT_EQ(written(1), "1.0");
  EXPECT_EQ(written(-1e-5), "-1e-05");
  EXPECT_EQ(written(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(written(-std::numeric_limits<double>::infinity()), "-inf");
}

}  // namespace
}  // namespace recblr
