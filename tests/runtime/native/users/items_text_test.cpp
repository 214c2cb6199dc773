// Lists of ids as text: as Python writes them, and back.
#include "users/items_text.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace recblr {
namespace {

std::vector<std::string> read(std::string_view text, bool* ended_well) {
  std::vector<std::string> ids;
  ItemsReader reader(text);
  for (Id id; reader.next(&id);) ids.push_back(key_of(id));
  *ended_well = reader.ended_well();
  return ids;
}

TEST(ItemsText, IsWhatPythonWrites) {
  using namespace std::string_view_literals;
  const Id ids[] = {Id::of(7),
                    Id::of("7"),
                    Id{IdType::kInteger, 0, "9223372036854775808"},
                    Id::of(-1),
                    Id::of(""),
                    Id::of("\xc3\xbcn\xc3\xaf \"quoted\" [1]"),
                    Id::of("a\0b\n\x1f\x7f\\/"sv),
                    Id::of("\xf0\x9f\x98\x80")};
  // json.dumps([7, "7", 2**63, -1, "", 'ünï "quoted" [1]', "a\0b\n\x1f\x7f\\/", "😀"], ensure_ascii=False,
  // separators=(",", ":"))
  const std::string text =
      "[7,\"7\",9223372036854775808,-1,\"\",\"\xc3\xbcn\xc3\xaf \\\"quoted\\\" [1]\","
      "\"a\\u0000b\\n\\u001f\x7f\\\\/\",\"\xf0\x9f\x98\x80\"]";
  EXPECT_EQ(items_text(ids, 8), text);
  EXPECT_EQ(items_text(nullptr, 0), "[]");
  bool ended_well = false;
  const std::vector<std::string> found = read(text, &ended_well);
  EXPECT_TRUE(ended_well);
  ASSERT_EQ(found.size(), 8u);
  for (size_t j = 0; j < 8; ++j) EXPECT_EQ(found[j], key_of(ids[j]));
}

TEST(ItemsText, OtherJsonOfTheSameIdsIsReadToo) {
  bool ended_well = false;
  EXPECT_EQ(read(" [ 1 ,\n\"\\u00fc\\ud83d\\ude00\\/\\b\" ] ", &ended_well),
            (std::vector<std::string>{"i1", "s\xc3\xbc\xf0\x9f\x98\x80/\b"}));
  EXPECT_TRUE(ended_well);
  EXPECT_TRUE(read("[ ]", &ended_well).empty());
  EXPECT_TRUE(ended_well);
}

TEST(ItemsText, WhatIsNoneIsSaidToBe) {
  for (const char* text : {"",      "[",     "[1",        "[1,",         "[1,]",          "[1]x",
                           "1",     "{}",    "[1.5]",     "[01]",        "[-]",           "[null]",
                           "[[1]]", "[\"a]", "[\"\\x\"]", "[\"\\u12\"]", "[\"\\ud83d\"]", "[\"\\ude00\"]",
                           "[1 2]", "\"a\""}) {
    bool ended_well = true;
    read(text, &ended_well);
    EXPECT_FALSE(ended_well) << text;
  }
}

TEST(Id, KeysComeBack) {
  const std::string digits = "1" + std::string(99, '0');
  for (const Id& id : {Id::of(25), Id::of("25"), Id::of(INT64_MIN), Id{IdType::kInteger, 0, digits}, Id::of("")}) {
    const std::string key = key_of(id);
    EXPECT_EQ(key_of(id_of_key(key)), key);
    EXPECT_EQ(id_of_key(key).type, id.type);
  }
  EXPECT_EQ(key_of(Id::of(25)), "i25");
  EXPECT_EQ(key_of(Id::of("25")), "s25");
}

std::string refusal(const Id& id) {
  try {
    check_id(id, "user");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(Id, WhatIsNoneIsRefused) {
  const std::string longest(1024, 'u'), too_long = longest + "u";
  std::string wide;
  for (int j = 0; j < 1024; ++j) wide += "\xc3\xbc";
  EXPECT_EQ(refusal(Id::of(longest)), "");
  EXPECT_EQ(refusal(Id::of(wide)), "");
  EXPECT_EQ(refusal(Id::of(too_long)), "user has 1,025 characters: give at most 1,024");
  for (const char* text : {"\xed\xa0\x80", "\xff", "\xc0\x80", "\xe2\x82", "\xf4\x90\x80\x80", "a\x80"}) {
    EXPECT_NE(refusal(Id::of(text)).find("which is no valid Unicode: repair the text"), std::string::npos);
  }
  const std::string digits(101, '1');
  EXPECT_EQ(refusal({IdType::kInteger, 0, digits}), "user is a number of more than 100 digits: give a smaller one");
  EXPECT_EQ(refusal({IdType::kInteger, 0, std::string_view(digits).substr(1)}), "");
  EXPECT_EQ(refusal({IdType::kInteger, 0, "007"}), "user is the integer '007': give its decimal form, such as 25");
  EXPECT_EQ(refusal({IdType::kInteger, 0, "-0"}), "user is the integer '-0': give its decimal form, such as 25");
  EXPECT_EQ(refusal({IdType::kInteger, 0, "-7"}), "");
}

}  // namespace
}  // namespace recblr
