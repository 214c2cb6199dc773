#include "server/answer/json_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>

namespace recblr::server {
namespace {

std::string float_text(float number) {
  std::string text;
  append_float(number, &text);
  return text;
}

TEST(JsonText, FloatsAreShortAndFloats) {
  EXPECT_EQ(float_text(0.1F), "0.1");
  EXPECT_EQ(float_text(6.565973281860352F), "6.5659733");
  EXPECT_EQ(float_text(3), "3.0");
  EXPECT_EQ(float_text(-0.0F), "-0.0");
  EXPECT_EQ(float_text(1e20F), "1e+20");
  EXPECT_EQ(float_text(std::numeric_limits<float>::infinity()), "null");
  EXPECT_EQ(float_text(std::numeric_limits<float>::quiet_NaN()), "null");
}

// Readers of JSON make a double of a number, and of that a float32.
TEST(JsonText, FloatsSurviveDoubles) {
  std::mt19937 random(1);
  for (int j = 0; j < 200'000; ++j) {
    const uint32_t bits = random();
    float number = 0;
    std::memcpy(&number, &bits, sizeof number);
    if (!std::isfinite(number)) continue;
    const std::string text = float_text(number);
    ASSERT_EQ(static_cast<float>(std::strtod(text.c_str(), nullptr)), number) << text;
    ASSERT_NE(text.find_first_of(".e"), std::string::npos) << text;
  }
}

TEST(JsonText, Strings) {
  std::string text;
  append_string(std::string_view("a\"b\\c\n\x01\0\xc3\xbc/", 11), &text);
  EXPECT_EQ(text, "\"a\\\"b\\\\c\\u000a\\u0001\\u0000\xc3\xbc/\"");
  text.clear();
  append_string("", &text);
  EXPECT_EQ(text, "\"\"");
}

TEST(JsonText, Integers) {
  std::string text;
  append_integer(std::numeric_limits<int64_t>::min(), &text);
  EXPECT_EQ(text, "-9223372036854775808");
}

}  // namespace
}  // namespace recblr::server
