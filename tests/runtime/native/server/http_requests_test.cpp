// What one request gets.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class HttpRequests : public HttpServerFixture {};

TEST_F(HttpRequests, AreAnsweredInTheHandlerOrLater) {
  start();
  Client client = connect();
  for (int times = 0; times < 3; ++times) {
    EXPECT_EQ(client.ask(get("/hello")).body, "hello");
    EXPECT_EQ(client.ask(post("/echo", "at once")).body, "at once");
    EXPECT_EQ(client.ask(post("/later", "later")).body, "later");
  }
  const Answer answer = client.ask(get("/hello"));
  EXPECT_EQ(answer.headers.at("content-type"), "text/plain");
  EXPECT_EQ(answer.headers.at("content-length"), "5");
  EXPECT_EQ(answer.headers.count("connection"), 0u);
  EXPECT_EQ(answer.headers.at("date").size(), std::string("Mon, 30 Nov 2026 16:36:43 GMT").size());
}

TEST_F(HttpRequests, GetParameters) {
  start();
  EXPECT_EQ(connect().ask(get("/parameters/a%2Fb/%C3%BC?query")).body, "a/b|ü");
}

TEST_F(HttpRequests, OfNoRouteAre404And405) {
  start();
  Client client = connect();
  Answer answer = client.ask(get("/x?y"));
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.error(), "nothing answers GET '/x': the page /docs lists what does");
  EXPECT_EQ(client.ask(post("/x", "body")).status, 404);
  answer = client.ask("PATCH /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.headers.at("allow"), "GET, HEAD");
  EXPECT_EQ(answer.error(), "nothing answers PATCH '/hello': the page /docs lists what does");
  EXPECT_LT(client.ask(get("/" + std::string(5000, 'x'))).body.size(), 300u);
}

TEST_F(HttpRequests, OfForeignPagesChangeNothing) {
  start();
  Client client = connect();
  for (const char* site : {"cross-site", "same-site"}) {
    const std::string header = "Sec-Fetch-Site: " + std::string(site) + "\r\n";
    const Answer answer = client.ask(post("/echo", "body", header));
    EXPECT_EQ(answer.status, 403);
    EXPECT_EQ(answer.error(), "a page of another site may not ask this: ask from a program, or from /docs");
    EXPECT_EQ(client.ask(get("/hello", header)).status, 200);
  }
  for (const char* site : {"same-origin", "none"}) {
    EXPECT_EQ(client.ask(post("/echo", "body", "Sec-Fetch-Site: " + std::string(site) + "\r\n")).status, 200);
  }
}

TEST_F(HttpRequests, OfForeignPagesAreKnownByTheirOrigin) {
  options.addresses = {"127.0.0.1:0", "unix:" + ::testing::TempDir() + "origin_" + std::to_string(::getpid())};
  start();
  for (size_t j = 0; j < 2; ++j) {
    Client client = connect(url(j));
    for (const char* origin :
         {"http://evil.example", "http://test:8000", "https://test.evil.example", "null", "test"}) {
      const std::string header = "Origin: " + std::string(origin) + "\r\n";
      EXPECT_EQ(client.ask(post("/echo", "body", header)).status, 403) << origin;
      EXPECT_EQ(client.ask(get("/hello", header)).status, 200) << origin;
      EXPECT_EQ(client.ask(post("/echo", "body", header + "Sec-Fetch-Site: same-origin\r\n")).status, 200) << origin;
    }
    for (const char* origin : {"http://test", "https://TEST"}) {
      EXPECT_EQ(client.ask(post("/echo", "body", "Origin: " + std::string(origin) + "\r\n")).status, 200) << origin;
    }
  }
}

TEST_F(HttpRequests, OfBrowsersAreToANameThatNoOtherSiteHas) {
  options.own_names = {"localhost", "127.0.0.1", "[::1]"};
  options.addresses = {"127.0.0.1:0", "unix:" + ::testing::TempDir() + "names_" + std::to_string(::getpid())};
  start();
  Client client = connect();
  const auto status = [](Client& asked, const std::string& host, const std::string& headers) {
    return asked.ask("GET /hello HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n").status;
  };
  const std::string accepts = "Accept-Language: en\r\n";
  for (const char* host : {"evil.example", "evil.example:8000", "localhost.evil.example", "[::2]:8000", "", ":8000"}) {
    EXPECT_EQ(status(client, host, accepts), 403) << host;
    EXPECT_EQ(status(client, host, "Origin: http://" + std::string(host) + "\r\n"), 403) << host;
    // A program, perhaps behind a proxy; Node.js; a browser over TLS to a proxy.
    EXPECT_EQ(status(client, host, ""), 200) << host;
    EXPECT_EQ(status(client, host, "Accept-Language: *\r\nSec-Fetch-Mode: cors\r\n"), 200) << host;
    EXPECT_EQ(status(client, host, accepts + "Sec-Fetch-Site: none\r\n"), 200) << host;
    Client local = connect(url(1));
    EXPECT_EQ(status(local, host, accepts), 200) << host;
  }
  for (const char* host : {"localhost", "LocalHost:8000", "127.0.0.1:8000", "[::1]", "[::1]:8000"}) {
    EXPECT_EQ(status(client, host, accepts), 200) << host;
  }
  EXPECT_EQ(client.ask("GET /hello HTTP/1.1\r\nHost: evil.example\r\n" + accepts + "\r\n").error(),
            "a browser may not ask this server, which needs no token, as 'evil.example': ask it as localhost, or start "
            "it with --token-file");
}

TEST_F(HttpRequests, WithHeadGetNoBody) {
  start();
  Client client = connect();
  const Answer answer = client.send("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n").receive(false);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-length"), "5");
  EXPECT_EQ(client.ask(get("/hello")).body, "hello");
}

TEST_F(HttpRequests, OfClientsThatWouldUpgradeAreAnswered) {
  start();
  Client client = connect();
  const std::string java =
      "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAM\r\n";
  EXPECT_EQ(client.ask(get("/hello", java)).body, "hello");
  EXPECT_EQ(client.ask(post("/echo", "body", java)).body, "body");
}

TEST_F(HttpRequests, ArePacked) {
  start();
  Client client = connect();
  const std::string text(300'000, 'x');
  EXPECT_EQ(client.ask(post("/echo", gzipped(text), "Content-Encoding: gzip\r\n")).body, text);
  EXPECT_EQ(client.ask(post("/echo", "", "Content-Encoding: gzip\r\n")).body, "");
  EXPECT_EQ(client.ask(post("/echo", "x", "Content-Encoding: br\r\n")).status, 415);
}

TEST_F(HttpRequests, ThatExpectAreInvited) {
  start();
  Client client = connect();
  EXPECT_EQ(client.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").status,
            100);
  EXPECT_EQ(client.ask("body").body, "body");
}

TEST_F(HttpRequests, ThatExpectAreNotInvitedToSendTooMuch) {
  options.limits.max_body_bytes = 1000;
  start();
  Client client = connect();
  const Answer answer =
      client.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.headers.at("connection"), "close");
}

TEST_F(HttpRequests, TooLargeAreToldSoThoughTheyAreSent) {
  options.limits.max_body_bytes = 1'000'000;
  start();
  for (const bool chunked : {false, true}) {
    Client client = connect();
    if (chunked) {
      client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n186a00\r\n");
    } else {
      client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1600000\r\n\r\n");
    }
    client.send(std::string(1'600'000, 'x'));
    EXPECT_EQ(client.receive().status, 413);
    EXPECT_TRUE(client.is_closed());
  }
}

TEST_F(HttpRequests, ThatAreNoneAre400AndTheEnd) {
  start();
  for (const char* bytes :
       {"GET /\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"}) {
    Client client = connect();
    const Answer answer = client.ask(bytes);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_FALSE(answer.error().empty());
    EXPECT_FALSE(answer.headers.at("x-request-id").empty());
    EXPECT_TRUE(client.is_closed());
  }
  const std::vector<RequestRecord> records = finished.wait(4);
  EXPECT_EQ(records[0].route, "");
  EXPECT_EQ(records[0].reason, "invalid");
  EXPECT_EQ(records[0].status, 400);
}

TEST_F(HttpRequests, OfHandlersThatFailAre500) {
  start();
  Client client = connect();
  for (const char* path : {"/throws", "/forgets"}) {
    const Answer answer = client.ask(get(path));
    EXPECT_EQ(answer.status, 500);
    EXPECT_EQ(answer.body.find("what was thrown"), std::string::npos);
  }
  EXPECT_EQ(client.ask(get("/hello")).status, 200);
  const std::vector<RequestRecord> records = finished.wait(3);
  EXPECT_EQ(records[0].detail, "what was thrown");
  EXPECT_EQ(records[0].reason, "internal");
  EXPECT_EQ(records[1].detail, "a handler let go of the request without a reply");
}

TEST_F(HttpRequests, AreRepliedToOnce) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  exchange->reply(text_reply("first"));
  exchange->reply(text_reply("second"));
  EXPECT_EQ(client.receive().body, "first");
  EXPECT_EQ(client.ask(get("/hello")).body, "hello");
}

TEST_F(HttpRequests, HaveIds) {
  start();
  Client client = connect();
  EXPECT_EQ(client.ask(get("/hello", "X-Request-Id: my-id_1\r\ntraceparent: 00-a-b-01\r\n")).headers.at("x-request-id"),
            "my-id_1");
  EXPECT_EQ(client.ask(get("/x", "X-Request-Id: of-404\r\n")).headers.at("x-request-id"), "of-404");
  for (const std::string& bad :
       {std::string("two words"), std::string("\xc3\xbc"), std::string(129, 'x'), std::string()}) {
    EXPECT_EQ(client.ask(get("/hello", "X-Request-Id: " + bad + "\r\n")).headers.at("x-request-id").size(), 32u) << bad;
  }
  const std::vector<RequestRecord> records = finished.wait(6);
  EXPECT_EQ(records[0].request_id, "my-id_1");
  EXPECT_EQ(records[0].traceparent, "00-a-b-01");
  EXPECT_EQ(records[1].request_id, "of-404");
}

TEST_F(HttpRequests, AreToldOf) {
  start();
  Client client = connect();
  client.ask(post("/parameters/a/b", "four"));
  client.ask(post("/echo", "four"));
  client.ask(get("/parameters/a/b"));
  const std::vector<RequestRecord> records = finished.wait(3);
  EXPECT_EQ(records[0].status, 405);
  EXPECT_EQ(records[0].reason, "not_found");
  EXPECT_EQ(records[1].method, "POST");
  EXPECT_EQ(records[1].route, "/echo");
  EXPECT_EQ(records[1].status, 200);
  EXPECT_EQ(records[1].reason, "");
  EXPECT_EQ(records[1].request_bytes, 4);
  EXPECT_GT(records[1].response_bytes, 100);
  EXPECT_GE(records[1].seconds, 0);
  EXPECT_EQ(records[2].route, "/parameters/{a}/{b}");
}

TEST_F(HttpRequests, GetHeadersThatCannotEndLines) {
  router.add(Method::kGet, "/split", Access::kUser, [](const ExchangePtr& exchange) {
    Reply reply = text_reply("");
    reply.headers.emplace_back("X-Text", "a\r\nX-More: b");
    exchange->reply(std::move(reply));
  });
  start();
  const Answer answer = connect().ask(get("/split"));
  EXPECT_EQ(answer.headers.at("x-text"), "aX-More: b");
  EXPECT_EQ(answer.headers.count("x-more"), 0u);
}

}  // namespace
}  // namespace recblr::server
