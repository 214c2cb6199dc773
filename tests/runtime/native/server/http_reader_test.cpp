// Requests made of bytes, however they are cut.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "server/http/request_reader.h"
#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

using namespace std::string_literals;

constexpr int64_t kMaxHeader = 1024, kMaxBody = 10'000;

// Gives `bytes` to `reader`, `step` more at a time, until it has a request or none can come. Returns what is left.
std::string feed(RequestReader* reader, std::string bytes, size_t step) {
  size_t given = 0;
  for (;;) {
    switch (reader->state()) {
      case RequestReader::State::kHead:
      case RequestReader::State::kBody: {
        const RequestReader::State before = reader->state();
        const size_t taken = reader->read(std::string_view(bytes).substr(0, given));
        bytes.erase(0, taken);
        given -= taken;
        if (reader->state() != before) break;
        if (given == bytes.size()) return bytes;
        given = std::min(bytes.size(), given + step);
        break;
      }
      case RequestReader::State::kHeadRead:
        reader->keep_body();
        break;
      case RequestReader::State::kPacked:
        reader->unpack(step);
        break;
      case RequestReader::State::kDone:
      case RequestReader::State::kRefused:
        return bytes;
    }
  }
}

struct Refused {
  const char* name;
  std::string bytes;
  int status;
  const char* message;  // a part of it
};

class RefusedRequests : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedRequests, AreRefusedWhereverTheyAreCut) {
  for (const size_t step : {size_t{1}, size_t{7}, size_t{100'000}}) {
    RequestReader reader(kMaxHeader, kMaxBody);
    feed(&reader, GetParam().bytes, step);
    ASSERT_EQ(reader.state(), RequestReader::State::kRefused) << step;
    EXPECT_EQ(reader.refusal().status, GetParam().status);
    EXPECT_NE(reader.refusal().message.find(GetParam().message), std::string::npos) << reader.refusal().message;
    EXPECT_FALSE(reader.keep_alive());
  }
}

std::string chunked(const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body;
}

INSTANTIATE_TEST_SUITE_P(
    Http, RefusedRequests,
    ::testing::Values(
        Refused{"Http09", "GET /\r\n", 400, "HTTP/1.1 only"},
        Refused{"Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP/1.1 only"},
        Refused{"Http12", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400, "HTTP/1.1 only"},
        Refused{"Tls", "\x16\x03\x01\x02", 400, "TLS"}, Refused{"Binary", "\0\1"s, 400, "method"},
        Refused{"BareLf", "GET / HTTP/1.1\nHost: a\n\n", 400, "LF alone"},
        Refused{"BareLfInFields", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "LF alone"},
        Refused{"BareCr", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "not valid"},
        Refused{"Nul", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"s, 400, "not valid"},
        Refused{"NulInTarget", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"s, 400, "not valid"},
        Refused{"Folded", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400, "begins with a space"},
        Refused{"SpaceBeforeFirstField", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "begins with a space"},
        Refused{"SpaceBeforeColon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "not valid"},
        Refused{"NoColon", "GET / HTTP/1.1\r\nHost\r\n\r\n", 400, "not valid"},
        Refused{"NoName", "GET / HTTP/1.1\r\n: a\r\n\r\n", 400, "not valid"},
        Refused{"TwoSpaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not valid"},
        Refused{"NoHost", "GET / HTTP/1.1\r\n\r\n", 400, "no Host"},
        Refused{"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "more than one Host"},
        Refused{"BadEscape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "percent-encoded"},
        Refused{"EscapeOfNoDigit", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "percent-encoded"},
        Refused{"NotUtf8", "GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "percent-encoded"},
        Refused{"Overlong", "GET /%c0%af HTTP/1.1\r\nHost: a\r\n\r\n", 400, "percent-encoded"},
        Refused{"OtherScheme", "GET x://h/v1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "does not begin with"},
        Refused{"SchemeInTheQuery", "GET x?://h/v1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "does not begin with"},
        Refused{"NoSlash", "GET v1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "does not begin with"},
        Refused{"Authority", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "does not begin with"},
        Refused{"HeaderTooLong", "GET / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", 431, "1024 bytes"},
        Refused{"TargetTooLong", "GET /" + std::string(2000, 'x'), 431, "1024 bytes"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Bodies, RefusedRequests,
    ::testing::Values(
        Refused{"BothLengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                400, ""},
        Refused{"BothLengthsOtherOrder",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400, ""},
        Refused{"TwoLengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400,
                "once"},
        Refused{"ListOfLengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400, "one number"},
        Refused{"NegativeLength", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, ""},
        Refused{"SignedLength", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400, ""},
        Refused{"HexadecimalLength", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400, ""},
        Refused{"EmptyLength", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400, ""},
        Refused{"LengthTooLarge", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\n\r\n", 413, "10000 bytes"},
        Refused{"LengthBeyond63Bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", 413,
                "10000 bytes"},
        Refused{"LengthBeyond64Bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                400, ""},
        Refused{"OtherEncoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400,
                "chunked"},
        Refused{"Identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400, "chunked"},
        Refused{"TwoEncodings",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
                ""},
        Refused{"EncodingIn10", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP/1.0"},
        Refused{"ChunkOfNoSize", chunked("\r\n"), 400, ""}, Refused{"ChunkOfBadSize", chunked("g\r\n"), 400, ""},
        Refused{"ChunkOfSignedSize", chunked("-3\r\nabc\r\n"), 400, ""},
        Refused{"ChunkOfHugeSize", chunked("fffffffffffffffff\r\n"), 400, ""},
        Refused{"ChunkOfTheHugestSize", chunked("ffffffffffffffff\r\n"), 413, "longer than 10000 bytes"},
        Refused{"ChunkBeyondTheRest", chunked("1\r\nx\r\n2710\r\n"), 413, "longer than 10000 bytes"},
        Refused{"ChunkWithBareLf", chunked("3\nabc\r\n0\r\n\r\n"), 400, ""},
        Refused{"ChunkLongerThanItsSize", chunked("3\r\nabcd\r\n0\r\n\r\n"), 400, ""},
        Refused{"LongChunkExtension", chunked("3;" + std::string(2000, 'x')), 431, "chunk"},
        Refused{"ChunksTooLarge", chunked("2710\r\n" + std::string(10'000, 'x') + "\r\n1\r\nx\r\n"), 413,
                "10000 bytes"},
        Refused{"UnknownPacking", post("/", "x", "Content-Encoding: br\r\n"), 415, "gzip"},
        Refused{"PackedTwice", post("/", "x", "Content-Encoding: gzip, gzip\r\n"), 415, "gzip"},
        Refused{"NotPacked", post("/", "no gzip", "Content-Encoding: gzip\r\n"), 400, "unpacked"},
        Refused{"PackedAndCut", post("/", gzipped("abc").substr(0, 15), "Content-Encoding: gzip\r\n"), 400, "unpacked"},
        Refused{"Bomb", post("/", gzipped(std::string(1'000'000, 'x')), "Content-Encoding: gzip\r\n"), 413,
                "when unpacked"},
        Refused{"UnknownExpectation", post("/", "x", "Expect: a miracle\r\n"), 417, "100-continue"}),
    [](const auto& info) { return info.param.name; });

class CutRequests : public ::testing::TestWithParam<size_t> {};

TEST_P(CutRequests, AreWholeOneAfterTheOther) {
  RequestReader reader(kMaxHeader, kMaxBody);
  const std::string bytes =
      "\r\nPOST /a%2Fb/c?q=1&r HTTP/1.1\r\nHost: a\r\nX-One:  1 \r\nContent-Length: 3\r\n\r\nabc" +
      chunked("3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n") +
      "GET HTTP://a/absolute HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" +
      post("/", gzipped("packed") + gzipped(" twice"), "Content-Encoding: gzip\r\n");
  std::string left = feed(&reader, bytes, GetParam());
  ASSERT_EQ(reader.state(), RequestReader::State::kDone) << reader.refusal().message;
  EXPECT_EQ(reader.request().method, Method::kPost);
  EXPECT_EQ(reader.request().path, "/a/b/c");
  EXPECT_EQ(reader.raw_path(), "/a%2Fb/c");
  EXPECT_EQ(reader.request().query, "q=1&r");
  EXPECT_EQ(reader.request().header("x-one"), "1");
  EXPECT_EQ(reader.request().body, "abc");
  EXPECT_TRUE(reader.keep_alive());

  reader.next();
  left = feed(&reader, left, GetParam());
  ASSERT_EQ(reader.state(), RequestReader::State::kDone) << reader.refusal().message;
  EXPECT_EQ(reader.request().body, "abcde");
  EXPECT_EQ(reader.request().header("Trailer"), "");
  EXPECT_EQ(reader.body_bytes(), 5);

  reader.next();
  left = feed(&reader, left, GetParam());
  ASSERT_EQ(reader.state(), RequestReader::State::kDone) << reader.refusal().message;
  EXPECT_EQ(reader.request().path, "/absolute");
  EXPECT_TRUE(reader.is_http_1_0());
  EXPECT_TRUE(reader.keep_alive());

  reader.next();
  left = feed(&reader, left, GetParam());
  ASSERT_EQ(reader.state(), RequestReader::State::kDone) << reader.refusal().message;
  EXPECT_EQ(reader.request().body, "packed twice");
  EXPECT_EQ(left, "");
}

INSTANTIATE_TEST_SUITE_P(Http, CutRequests, ::testing::Values(1, 2, 3, 50, 100'000));

TEST(RequestReader, UnpacksInSteps) {
  RequestReader reader(kMaxHeader, kMaxBody);
  const std::string bytes = post("/", gzipped(std::string(10'000, 'x')), "Content-Encoding: gzip\r\n");
  const size_t head = reader.read(bytes);
  reader.keep_body();
  reader.read(std::string_view(bytes).substr(head));
  int steps = 0;
  for (; reader.state() == RequestReader::State::kPacked; ++steps) reader.unpack(100);
  EXPECT_EQ(reader.state(), RequestReader::State::kDone);
  EXPECT_EQ(reader.request().body, std::string(10'000, 'x'));
  EXPECT_GE(steps, 100);
}

TEST(RequestReader, UnpacksWhatIsEmptyInSteps) {
  RequestReader reader(kMaxHeader, kMaxBody);
  std::string members;
  while (members.size() < 9000) members += gzipped("");
  const std::string bytes = post("/", members, "Content-Encoding: gzip\r\n");
  const size_t head = reader.read(bytes);
  reader.keep_body();
  reader.read(std::string_view(bytes).substr(head));
  EXPECT_EQ(reader.held_bytes(), static_cast<int64_t>(members.size()));
  int steps = 0;
  for (; reader.state() == RequestReader::State::kPacked; ++steps) reader.unpack(100);
  EXPECT_EQ(reader.state(), RequestReader::State::kDone);
  EXPECT_EQ(reader.request().body, "");
  EXPECT_GE(steps, 90);
}

TEST(RequestReader, ThrowsAwayWhatIsNotWanted) {
  RequestReader reader(kMaxHeader, kMaxBody);
  const std::string bytes = chunked("4e20\r\n" + std::string(20'000, 'x') + "\r\n0\r\n\r\n");
  const size_t head = reader.read(bytes);
  reader.drop_body();
  EXPECT_EQ(reader.read(std::string_view(bytes).substr(head)), bytes.size() - head);
  EXPECT_EQ(reader.state(), RequestReader::State::kDone);
  EXPECT_EQ(reader.request().body, "");
  EXPECT_EQ(reader.body_bytes(), 20'000);
}

}  // namespace
}  // namespace recblr::server
