#include "bundle/vocabulary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/error.h"
#include "bundle/toy_bundle.h"

namespace recblr {
namespace {

using nlohmann::json;
using testing::error_of;

constexpr char kAdvice[] = "; copy the bundle again, or export it again";

std::unique_ptr<const Vocabulary> parse(const json& content) {
  return Vocabulary::parse(content.dump(), "b/items.json");
}

std::unique_ptr<const Vocabulary> integers(const std::vector<int64_t>& ids) {
  return parse({{"id_type", "integer"}, {"ids", ids}, {"counts", std::vector<int64_t>(ids.size(), 1)}});
}

std::unique_ptr<const Vocabulary> strings(const std::vector<std::string>& ids) {
  return parse({{"id_type", "string"}, {"ids", ids}, {"counts", std::vector<int64_t>(ids.size(), 1)}});
}

std::string error_of_text(const std::string& text) {
  return error_of([&] { Vocabulary::parse(text, "b/items.json"); });
}

// One row or several, and what `encode_row` makes of one.
struct Rows {
  std::vector<int64_t> offsets{0}, integers, text_offsets{0};
  std::string text;
  std::vector<Strangers> strangers;

  void add(const std::vector<int64_t>& ids) {
    integers.insert(integers.end(), ids.begin(), ids.end());
    offsets.push_back(static_cast<int64_t>(integers.size()));
  }
  void add(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      text += id;
      text_offsets.push_back(static_cast<int64_t>(text.size()));
    }
    offsets.push_back(static_cast<int64_t>(text_offsets.size()) - 1);
  }
  Ids ids() const {
    Ids ids;
    ids.type = text_offsets.size() > 1 ? IdType::kString : IdType::kInteger;
    ids.n_rows = static_cast<int64_t>(offsets.size()) - 1;
    ids.offsets = offsets.data();
    ids.integers = integers.data();
    ids.text = text.data();
    ids.text_offsets = text_offsets.data();
    ids.strangers = strangers.data();
    ids.n_strangers = static_cast<int64_t>(strangers.size());
    return ids;
  }
};

using Encoded = std::pair<std::vector<int32_t>, int64_t>;

Encoded encode(const Vocabulary& vocabulary, const Rows& rows, int64_t row = 0) {
  Encoded encoded;
  encoded.second = vocabulary.encode_row(rows.ids(), row, &encoded.first);
  return encoded;
}

template <typename Id>
Encoded encode(const Vocabulary& vocabulary, const std::vector<Id>& ids) {
  Rows rows;
  rows.add(ids);
  return encode(vocabulary, rows);
}

TEST(Vocabulary, IntegersInATable) {
  const auto vocabulary = integers({1, 20, 0, -7});
  EXPECT_EQ(vocabulary->type(), IdType::kInteger);
  EXPECT_EQ(vocabulary->n_items(), 4);
  EXPECT_EQ(vocabulary->index(int64_t{-7}), 4);
  for (const int64_t other : {int64_t{-8}, int64_t{2}, int64_t{21}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(vocabulary->index(other), 0) << other;
  }
  EXPECT_EQ(vocabulary->integer(2), 20);
}

TEST(Vocabulary, IntegersInAHash) {
  const auto vocabulary = integers({INT64_MAX, 0, INT64_MIN, -1});
  EXPECT_EQ(vocabulary->index(INT64_MAX), 1);
  EXPECT_EQ(vocabulary->index(INT64_MIN), 3);
  EXPECT_EQ(vocabulary->index(int64_t{1}), 0);
  EXPECT_EQ(vocabulary->index("9223372036854775807"), 1);
  EXPECT_EQ(vocabulary->index("-9223372036854775808"), 3);
  EXPECT_EQ(vocabulary->index("9223372036854775808"), 0);
}

TEST(Vocabulary, TableAndHashFindTheSame) {
  std::mt19937_64 random(7);
  for (const int64_t step : {1, 7, 8, 9, 10, 1000}) {
    std::set<int64_t> distinct;
    for (int64_t i = 0; i < 500; ++i) distinct.insert(-1000 + static_cast<int64_t>(random() % (500 * step)));
    std::vector<int64_t> ids(distinct.begin(), distinct.end());
    std::shuffle(ids.begin(), ids.end(), random);
    const auto vocabulary = integers(ids);
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(vocabulary->index(ids[i]), static_cast<int32_t>(i) + 1);
    for (int64_t id = -1100; id < 600; ++id) EXPECT_EQ(vocabulary->index(id) != 0, distinct.count(id) == 1) << id;
  }
}

TEST(Vocabulary, Strings) {
  const auto vocabulary = strings({"a", "1", "ü", "", std::string("x\0y", 3)});
  EXPECT_EQ(vocabulary->type(), IdType::kString);
  EXPECT_EQ(vocabulary->index("ü"), 3);
  EXPECT_EQ(vocabulary->index(""), 4);
  EXPECT_EQ(vocabulary->index(std::string_view("x\0y", 3)), 5);
  EXPECT_EQ(vocabulary->index("x"), 0);
  EXPECT_EQ(vocabulary->index(int64_t{1}), 2);
  EXPECT_EQ(vocabulary->index(INT64_MIN), 0);
  EXPECT_EQ(vocabulary->string(3), "ü");
  EXPECT_EQ(vocabulary->string(3).data()[2], '\0');
  EXPECT_EQ(vocabulary->string(4), "");
}

TEST(Vocabulary, ManyStrings) {
  std::vector<std::string> ids;
  for (int i = 0; i < 20000; ++i) ids.push_back("item-" + std::to_string(i * 37));
  const auto vocabulary = strings(ids);
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(vocabulary->index(ids[i]), static_cast<int32_t>(i) + 1);
  EXPECT_EQ(vocabulary->index("item-1"), 0);
  EXPECT_GT(vocabulary->memory(), 20000 * (8 + 8 + 8 + 4));
  EXPECT_LT(vocabulary->memory(), 20000 * (12 + 8 + 8 + 4 + 16) + 1000);
}

TEST(Vocabulary, CanBeId) {
  const auto numbers = integers({1});
  for (const char* text : {"0", "1", "-5", "1234567890123456789012345678901234567890"}) {
    EXPECT_TRUE(numbers->can_be_id(text)) << text;
  }
  for (const char* text : {"", "-", "-0", "007", "+1", " 1", "1 ", "1.0", "1_000", "1\n", "x", "٣", "--1"}) {
    EXPECT_FALSE(numbers->can_be_id(text)) << text;
    EXPECT_TRUE(strings({"a"})->can_be_id(text)) << text;
  }
  EXPECT_TRUE(numbers->can_be_id("-" + std::string(100, '9')));
  EXPECT_FALSE(numbers->can_be_id(std::string(101, '9')));
}

TEST(Vocabulary, RowsKeepOrderAndRepeatsAndCountTheUnknown) {
  const auto numbers = integers({1, 20, 0, -7});
  EXPECT_EQ(encode(*numbers, std::vector<int64_t>{20, 99, 1, 20, -7, 0, -1}), Encoded({2, 1, 2, 4, 3}, 2));
  EXPECT_EQ(encode(*numbers, std::vector<std::string>{"20", "A-1", "-7", "007", "98"}), Encoded({2, 4}, 3));
  EXPECT_EQ(encode(*numbers, std::vector<int64_t>{98, 99}), Encoded({}, 2));
  EXPECT_EQ(encode(*numbers, std::vector<std::string>{"98", std::string(100, '9')}), Encoded({}, 2));
  EXPECT_EQ(encode(*numbers, std::vector<int64_t>{}), Encoded({}, 0));
  const auto words = strings({"a", "1"});
  EXPECT_EQ(encode(*words, std::vector<std::string>{"1", "zz", "a"}), Encoded({2, 1}, 1));
  EXPECT_EQ(encode(*words, std::vector<int64_t>{1, 2, 1}), Encoded({2, 2}, 1));
  EXPECT_EQ(encode(*words, std::vector<std::string>{"zz"}), Encoded({}, 1));
}

TEST(Vocabulary, RowsAreAppendedAndIndependent) {
  Rows rows;
  rows.add(std::vector<int64_t>{1});
  rows.add(std::vector<int64_t>{});
  rows.add(std::vector<int64_t>{99, 20});
  rows.strangers = {{0, 2, 1, "None", "NoneType", nullptr}, {2, 1, 0, "1.0", "float", nullptr}};
  const auto numbers = integers({1, 20});
  std::vector<int32_t> indices{7};
  EXPECT_EQ(numbers->encode_row(rows.ids(), 0, &indices), 2);
  EXPECT_EQ(numbers->encode_row(rows.ids(), 1, &indices), 0);
  EXPECT_EQ(numbers->encode_row(rows.ids(), 2, &indices), 2);
  EXPECT_EQ(indices, (std::vector<int32_t>{7, 1, 2}));
}

TEST(Vocabulary, StrangersAloneAreAnError) {
  const auto numbers = integers({1, 20});
  const auto words = strings({"it's"});
  const std::string known = ", and it knows none of those given: give ";
  const std::string to_numbers = ", the model's item ids are integers such as 1" + known;
  EXPECT_EQ(error_of([&] { encode(*numbers, std::vector<std::string>{"99", "A-1", "B"}); }),
            "item id 'A-1' is of type str" + to_numbers + "integers, or text such as \"25\"");

  Rows rows;
  rows.add(std::vector<std::string>{"99", "007"});
  rows.strangers = {{0, 1, 1, "1.0", "float", "whole numbers"}};
  EXPECT_EQ(error_of([&] { encode(*numbers, rows); }), "item id 1.0 is of type float" + to_numbers + "whole numbers");
  rows.strangers[0].before = 2;  // behind "007"
  EXPECT_EQ(error_of([&] { encode(*numbers, rows); }),
            "item id '007' is of type str" + to_numbers + "integers, or text such as \"25\"");
  rows.strangers[0] = {0, 1, 0, "None", "NoneType", nullptr};
  EXPECT_EQ(error_of([&] { encode(*words, rows); }),
            "item id None is of type NoneType, the model's item ids are strings such as \"it's\"" + known +
                "strings, or integers");
}

TEST(Vocabulary, ARowOfStrangersOnly) {
  Rows rows;
  rows.add(std::vector<int64_t>{});
  rows.strangers = {{0, 3, 0, "None", "NoneType", nullptr}};
  EXPECT_NE(error_of([&] { encode(*integers({1}), rows); }).find("item id None is of type NoneType"),
            std::string::npos);
}

TEST(Vocabulary, ErrorsOfRowsAreOfRequests) {
  try {
    encode(*integers({1}), std::vector<std::string>{"x"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
  }
}

TEST(Vocabulary, PopularItemsFirstAndEqualOnesByIndex) {
  const auto vocabulary = parse({{"id_type", "integer"}, {"ids", {1, 20, 0, -7, 5}}, {"counts", {5, 9, 9, 0, 9}}});
  EXPECT_EQ(vocabulary->popular(), (std::vector<int32_t>{2, 3, 5, 1, 4}));
  EXPECT_EQ(vocabulary->count(1), 5);
  EXPECT_EQ(vocabulary->count(4), 0);
}

TEST(Vocabulary, TheOrderOfKeysAndOtherKeysDoNotMatter) {
  const auto vocabulary = Vocabulary::parse(
      R"({"counts": [1, 2], "other": {"ids": [7], "counts": [[1]]}, "ids": [8], "ids": [3, 4], "id_type": "integer"})",
      "b/items.json");
  EXPECT_EQ(vocabulary->n_items(), 2);
  EXPECT_EQ(vocabulary->index(int64_t{4}), 2);
}

TEST(Vocabulary, WhatIsNone) {
  const std::string none = "b/items.json: no item vocabulary: ";
  const std::pair<const char*, std::string> cases[] = {
      {"null", none + "it needs id_type, ids and counts; write it again"},
      {"[]", none + "it needs id_type, ids and counts; write it again"},
      {R"([["ids"], ["counts"]])", none + "it needs id_type, ids and counts; write it again"},
      {R"({"ids": [1], "counts": [1]})", none + "it needs id_type, ids and counts; write it again"},
      {R"({"id_type": "string", "ids": "ab", "counts": [1, 1]})",
       none + "ids and counts must be lists; write it again"},
      {R"({"id_type": "string", "ids": ["a"], "counts": {"a": 1}})",
       none + "ids and counts must be lists; write it again"},
      {R"({"id_type": "integer", "ids": [], "counts": []})",
       "b/items.json: a vocabulary without items: give at least one item id"},
      {R"({"id_type": "string", "ids": [1], "counts": [1]})",
       "b/items.json: id_type is 'string', but the ids are integers"},
      {R"({"id_type": 5, "ids": ["a"], "counts": [1]})", "b/items.json: id_type is no string, but the ids are strings"},
      {R"({"id_type": "integer", "ids": [1, null, "a"], "counts": [1, 1, 1]})",
       "b/items.json: item ids of type NoneType, int, str: give only Python integers, or only strings"},
      {R"({"id_type": "integer", "ids": [[1], {"a": [2]}, 1.0, true], "counts": [1, 1, 1, 1]})",
       "b/items.json: item ids of type bool, dict, float, list: give only Python integers, or only strings"},
      {R"({"id_type": "integer", "ids": [1, 9223372036854775808], "counts": [1, 1]})",
       "b/items.json: item id 9223372036854775808 is beyond 64 bits: make the ids strings, by --id-type string"},
      {R"({"id_type": "integer", "ids": [-99999999999999999999999], "counts": [1]})",
       "b/items.json: item id -99999999999999999999999 is beyond 64 bits: make the ids strings, by --id-type string"},
      {R"({"id_type": "integer", "ids": [5, 3, 4, 3, 5], "counts": [1, 1, 1, 1, 1]})",
       "b/items.json: item id 5 occurs more than once: each item needs its own id"},
      {R"({"id_type": "integer", "ids": [5, 3000, 5], "counts": [1, 1, 1]})",
       "b/items.json: item id 5 occurs more than once: each item needs its own id"},
      {R"({"id_type": "string", "ids": ["b", "a", "a"], "counts": [1, 1, 1]})",
       "b/items.json: item id 'a' occurs more than once: each item needs its own id"},
      {R"({"id_type": "integer", "ids": [1, 2, 3], "counts": [1, 2]})",
       "b/items.json: item counts of shape (2,) and type int64: give 3 whole numbers, one per item"},
      {R"({"id_type": "integer", "ids": [1, 2], "counts": [1, 2.5]})",
       "b/items.json: item counts of shape (2,) and type float: give 2 whole numbers, one per item"},
      {R"({"id_type": "integer", "ids": [1, 2], "counts": [1, -2]})",
       "b/items.json: an item count is -2: counts are at least 0"},
      {R"({"id_type": "integer", "ids": [1], "counts": [9223372036854775808]})",
       "b/items.json: item counts of shape (1,) and type object: give 1 whole numbers, one per item"},
  };
  for (const auto& [text, reason] : cases) EXPECT_EQ(error_of_text(text), reason + kAdvice);
  for (const char* text : {"", "{", "\xff", "{\"ids\": [1,]}"}) {
    EXPECT_EQ(error_of_text(text),
              "b/items.json is damaged, it holds no JSON: copy the bundle again, or export it again");
  }
}

}  // namespace
}  // namespace recblr
