// JSON bodies: what is read, and what is refused with which words.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/v1/body_reader.h"
#include "server/v1/id_sinks.h"

namespace recblr::server {
namespace {

// A body with a field of each kind.
struct Body {
  serving::IdRows histories;
  std::optional<serving::IdRows> exclude, only;
  std::optional<int64_t> k;
  bool exclude_seen = true;
  std::optional<std::string> path;
  std::vector<OwnedId> id;
  struct Event {
    std::vector<OwnedId> items, event_id;
  };
  std::vector<Event> events;

  Expected<void> read(std::string_view text) {
    IdCount count(serving::QuestionLimits{});
    RowsSink histories_sink(&histories, &count), exclude_sink(&exclude, &count), only_sink(&only, &count);
    OwnedIdsSink id_sink(&count, &id), items_sink(&count), event_id_sink(&count);
    ObjectSink objects{{{"items", Field::Row{&items_sink}, "give a list of item ids", true},
                        {"event_id", Field::One{&event_id_sink}, "give an integer or a string", false, true}},
                       [&] {
                         events.emplace_back();
                         items_sink.redirect(&events.back().items);
                         event_id_sink.redirect(&events.back().event_id);
                       }};
    return read_body(text, {{"histories", Field::Rows{&histories_sink}, "give one list of item ids per user", true},
                            {"k", &k, "give a whole number"},
                            {"exclude_seen", &exclude_seen, "give true or false"},
                            {"exclude", Field::Rows{&exclude_sink}, "give one list of item ids per user", false, true},
                            {"only", Field::Row{&only_sink}, "give a list of item ids", false, true},
                            {"path", &path, "give a string"},
                            {"id", Field::One{&id_sink}, "give an integer or a string"},
                            {"events", &objects, "give a list of events"}});
  }
};

std::string error_of(std::string_view text) {
  Body body;
  const Expected<void> read = body.read(text);
  if (read) return "";
  EXPECT_EQ(read.error().status, Status::kInvalidArgument);
  EXPECT_EQ(read.error().message.find('\n'), std::string::npos);
  return read.error().message;
}

std::vector<int64_t> integers(const serving::IdRows& rows) {
  const recblr_ids ids = rows.view();
  EXPECT_EQ(ids.type, RECBLR_INTEGER_IDS);
  return {ids.integers, ids.integers + ids.offsets[ids.n_rows]};
}

std::vector<std::string> strings(const serving::IdRows& rows) {
  const recblr_ids ids = rows.view();
  EXPECT_EQ(ids.type, RECBLR_STRING_IDS);
  std::vector<std::string> all;
  for (int64_t j = 0; j < ids.offsets[ids.n_rows]; ++j) {
    all.emplace_back(ids.text + ids.text_offsets[j], ids.text + ids.text_offsets[j + 1]);
  }
  return all;
}

TEST(BodyReader, WhatIsBeyondTheLimitsIsCountedAlone) {
  serving::QuestionLimits limits;
  limits.max_ids = 3;
  limits.max_users = 2;
  const auto read = [&](std::string_view text, serving::IdRows* rows) {
    IdCount count(limits);
    RowsSink sink(rows, &count);
    EXPECT_TRUE(read_body(text, {{"rows", Field::Rows{&sink}, "give lists"}}));
    const Expected<void> checked = count.check("users");
    return checked ? "" : checked.error().message;
  };
  serving::IdRows few, ids, rows;
  EXPECT_EQ(read(R"({"rows": [[1, 2], [3]]})", &few), "");
  EXPECT_EQ(few.n_ids(), 3);
  EXPECT_EQ(read(R"({"rows": [[1, 2, "a", 18446744073709551616], [5]]})", &ids),
            "the request has 5 item ids, the limit is 3: send fewer at once");
  EXPECT_EQ(ids.n_ids(), 3);
  EXPECT_EQ(read(R"({"rows": [[], [], [], []]})", &rows),
            "the request has 4 users, the limit is 2: send fewer at once");
  EXPECT_EQ(rows.n_rows(), 2);
}

TEST(BodyReader, FillsWhatWasAskedFor) {
  Body body;
  const Expected<void> read = body.read(
      R"( {"k": 3, "histories": [[10, -20], [], [0, -0]], "exclude_seen": false, "exclude": [[1]], "only": [7, 8],
           "path": "a\"\u00e4\n", "id": 5,
           "events": [{"items": [1, "1", 18446744073709551616]}, {"event_id": "e", "items": []}]} )");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(body.histories.n_rows(), 3);
  EXPECT_EQ(integers(body.histories), (std::vector<int64_t>{10, -20, 0, 0}));
  EXPECT_EQ(body.histories.size(2), 2);
  EXPECT_EQ(body.k, 3);
  EXPECT_FALSE(body.exclude_seen);
  EXPECT_EQ(body.exclude->n_rows(), 1);
  EXPECT_EQ(body.only->n_rows(), 1);
  EXPECT_EQ(integers(*body.only), (std::vector<int64_t>{7, 8}));
  EXPECT_EQ(body.path, "a\"\xc3\xa4\n");
  EXPECT_EQ(body.id.at(0).integer, 5);
  ASSERT_EQ(body.events.size(), 2U);
  ASSERT_EQ(body.events[0].items.size(), 3U);
  EXPECT_EQ(body.events[0].items[0].kind, OwnedId::Kind::kInteger);
  EXPECT_EQ(body.events[0].items[1].kind, OwnedId::Kind::kString);
  EXPECT_EQ(body.events[0].items[2].view(), Id::big_integer("18446744073709551616"));
  EXPECT_TRUE(body.events[0].event_id.empty());
  EXPECT_EQ(body.events[1].event_id.at(0).view(), Id("e"));
}

TEST(BodyReader, NullAndNothingAreTheSame) {
  for (const char* text : {R"({"histories": []})", R"({"histories": [], "exclude": null, "only": null})"}) {
    Body body;
    ASSERT_TRUE(body.read(text));
    EXPECT_FALSE(body.exclude);
    EXPECT_FALSE(body.only);
    EXPECT_FALSE(body.k);
  }
  Body body;
  ASSERT_TRUE(body.read(R"({"histories": [], "exclude": [], "only": []})"));
  EXPECT_EQ(body.exclude->n_rows(), 0);
  EXPECT_EQ(body.only->n_rows(), 1);
}

TEST(BodyReader, IntegersOfUpToAHundredDigits) {
  Body body;
  const std::string digits(100, '7');
  ASSERT_TRUE(body.read(R"({"histories": [[9223372036854775807, -9223372036854775808, 9223372036854775808,
      -9223372036854775809, 18446744073709551615, 18446744073709551616, )" +
                        digits + "]]}"));
  EXPECT_EQ(strings(body.histories),
            (std::vector<std::string>{"9223372036854775807", "-9223372036854775808", "9223372036854775808",
                                      "-9223372036854775809", "18446744073709551615", "18446744073709551616", digits}));
  EXPECT_TRUE(body.read("{\"histories\": [[-" + digits + "]]}"));
  for (const std::string& longer : {digits + "7", "-" + digits + "7", std::string(5000, '7')}) {
    EXPECT_EQ(error_of("{\"histories\": [[1, " + longer + "]]}"),
              "histories[0][1] is a number of more than 100 digits: give a smaller one");
  }
}

TEST(BodyReader, StringsOfAnyLengthWithEscapesAnywhere) {
  for (const size_t size : {0, 1, 3000, 4095, 4096, 4097, 20000}) {
    const std::string plain(size, 'x');
    Body body;
    ASSERT_TRUE(
        body.read("{\"histories\": [[\"" + plain + "\\u00fc" + plain + "\\ud83d\\ude00\", \"" + plain + "\"]]}"));
    EXPECT_EQ(strings(body.histories),
              (std::vector<std::string>{plain + "\xc3\xbc" + plain + "\xf0\x9f\x98\x80", plain}));
  }
}

TEST(BodyReader, SkipsAByteOrderMark) {
  Body body;
  EXPECT_TRUE(body.read("\xef\xbb\xbf{\"histories\": []}"));
  EXPECT_EQ(error_of("\xef\xbb\xbf"), "the body is no JSON (incomplete JSON at byte 3)");
}

TEST(BodyReader, WrongTypesNameThePlaceAndTheValue) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"histories": [[10, true]]})", "histories[0][1] is true: item ids are integers or strings"},
      {R"({"histories": [[10], [10, 1.0]]})", "histories[1][1] is 1.0: item ids are integers or strings"},
      {R"({"histories": [[1e2]]})", "histories[0][0] is 1e2: item ids are integers or strings"},
      {R"({"histories": [[null]]})", "histories[0][0] is null: item ids are integers or strings"},
      {R"({"histories": [[[]]]})", "histories[0][0] is a list: item ids are integers or strings"},
      {R"({"histories": [10]})", "histories[0] is 10: give a list of item ids"},
      {R"({"histories": "10"})", "histories is '10': give one list of item ids per user"},
      {R"({"histories": null})", "histories is null: give one list of item ids per user"},
      {R"({})", "histories is missing: give one list of item ids per user"},
      {R"([])",
       "the body is a list: give a JSON object with histories, k, exclude_seen, exclude, only, path, id, events"},
      {R"("x")", "the body is 'x': give a JSON object with histories"},
      {R"(17)", "the body is 17: give a JSON object with histories"},
      {R"({"histories": [], "top": 3})", "top is no field of a request: use histories, k, exclude_seen"},
      {R"({"histories": [], "a\nb": 3})", "'a\\x0ab' is no field of a request"},
      {R"({"histories": [], "k": "3"})", "k is '3': give a whole number"},
      {R"({"histories": [], "k": true})", "k is true: give a whole number"},
      {R"({"histories": [], "k": 3.0})", "k is 3.0: give a whole number"},
      {R"({"histories": [], "k": null})", "k is null: give a whole number"},
      {R"({"histories": [], "k": 1000000000000000000000000000000})",
       "k is 1000000000000000000000000000000: give a whole number of at most 64 bits"},
      {R"({"histories": [], "exclude_seen": 1})", "exclude_seen is 1: give true or false"},
      {R"({"histories": [], "exclude": [1]})", "exclude[0] is 1: give a list of item ids"},
      {R"({"histories": [], "exclude": [[{}]]})", "exclude[0][0] is an object: item ids are integers or strings"},
      {R"({"histories": [], "only": 10})", "only is 10: give a list of item ids"},
      {R"({"histories": [], "only": [10, 2.5]})", "only[1] is 2.5: item ids are integers or strings"},
      {R"({"histories": [], "only": [[10]]})", "only[0] is a list: item ids are integers or strings"},
      {R"({"histories": [], "path": 1})", "path is 1: give a string"},
      {R"({"histories": [], "id": [1]})", "id is a list: give an integer or a string"},
      {R"({"histories": [], "id": {}})", "id is an object: give an integer or a string"},
      {R"({"histories": [], "events": {}})", "events is an object: give a list of events"},
      {R"({"histories": [], "events": [1]})", "events[0] is 1: give an object with items, event_id"},
      {R"({"histories": [], "events": [[]]})", "events[0] is a list: give an object with items, event_id"},
      {R"({"histories": [], "events": [{"items": []}, {}]})", "events[1].items is missing: give a list of item ids"},
      {R"({"histories": [], "events": [{"items": [1, {}]}]})",
       "events[0].items[1] is an object: item ids are integers or strings"},
      {R"({"histories": [], "events": [{"items": [], "k": 1}]})",
       "events[0].k is no field of a request: use items, event_id"},
      {R"({"histories": [], "histories": []})", "histories is there twice: give it once"},
      {R"({"histories": [], "events": [{"items": [], "items": []}]})", "events[0].items is there twice: give it once"},
  };
  for (const auto& [text, words] : cases) EXPECT_EQ(error_of(text).substr(0, words.size()), words) << text;
}

TEST(BodyReader, WhatIsNoJsonIsToldWithItsPlace) {
  EXPECT_EQ(error_of(""), "the body is no JSON (incomplete JSON at byte 0)");
  for (const std::string& text :
       {std::string("{"), std::string(R"({"histories": [[1]])"), std::string("\xff"), std::string("{'k': 1}"),
        std::string(R"({"histories": [["\ud800"]]})"), std::string("{\"histories\": [[\"\xc3\"]]}"),
        std::string("{\"histories\": [[\"\xed\xa0\x80\"]]}"), std::string(R"({"histories": [[01]]})"),
        std::string(R"({"histories": [[1,]]})"), std::string(R"({"histories": [[-]]})"),
        std::string(R"({"histories": [[NaN]]})"), std::string(R"({"histories": []} x)"),
        std::string(R"({"histories": []}{})"), std::string("{\"histories\": [[\"a\tb\"]]}"),
        std::string("{\"histories\": []}\0", 18)}) {
    EXPECT_EQ(error_of(text).substr(0, 21), "the body is no JSON (") << text;
  }
  EXPECT_EQ(error_of(R"({"histories": []} x)"), "the body is no JSON (extra data at byte 18)");
}

TEST(BodyReader, NothingLargeIsEchoed) {
  const std::string large(20'000'000, 'x');
  for (const std::string& text :
       {"{\"" + large + "\": 1}", "{\"k\": \"" + large + "\"}", "{\"\\n" + large + "\": 1}", "\"\\u00e4" + large + "\"",
        "{\"histories\": [], \"k\": " + std::string(20'000'000, '9') + "}", std::string(100'000, '['),
        "{\"histories\":" + std::string(100'000, '[')}) {
    const std::string error = error_of(text);
    EXPECT_FALSE(error.empty());
    EXPECT_LT(error.size(), 250U);
  }
}

}  // namespace
}  // namespace recblr::server
