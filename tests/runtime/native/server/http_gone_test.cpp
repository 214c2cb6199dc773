// Clients that leave before their answer, and such as only seem to.
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <string>
#include <vector>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class HttpGone : public HttpServerFixture {
 protected:
  // Whether the client of `exchange` is said to be gone.
  static std::future<void> gone(const ExchangePtr& exchange) {
    const auto promise = std::make_shared<std::promise<void>>();
    exchange->on_client_gone([promise] { promise->set_value(); });
    return promise->get_future();
  }
  static bool comes(const std::future<void>& future) {
    return future.wait_for(std::chrono::seconds(10)) == std::future_status::ready;
  }
  std::string unix_path() const { return ::testing::TempDir() + "recblr_gone_" + std::to_string(::getpid()); }
};

TEST_F(HttpGone, ClosedIsNoticed) {
  options.addresses = {"127.0.0.1:0", "unix:" + unix_path()};
  start();
  for (const std::string& where : server->urls()) {
    Client client = connect(where);
    client.send(get("/hold"));
    const ExchangePtr exchange = next_held();
    const std::future<void> future = gone(exchange);
    client.leave();
    EXPECT_TRUE(comes(future)) << where;
    EXPECT_TRUE(exchange->client_gone());
    wait_for_connections(0);
    exchange->reply(text_reply("to nobody"));
  }
  for (const RequestRecord& record : finished.wait(2)) {
    EXPECT_EQ(record.reason, "client_gone");
    EXPECT_EQ(record.status, 499);
    EXPECT_EQ(record.route, "/hold");
  }
}

TEST_F(HttpGone, ResetIsNoticed) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  client.reset();
  EXPECT_TRUE(comes(gone(exchange)));
}

TEST_F(HttpGone, ClosedIsNoticedBehindPipelinedRequests) {
  start();
  Client client = connect();
  client.send(get("/hold") + get("/hello") + get("/hello"));
  const ExchangePtr exchange = next_held();
  client.leave();
  EXPECT_TRUE(comes(gone(exchange)));
}

TEST_F(HttpGone, IsToldAtOnceOfOneThatIs) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  const std::future<void> first = gone(exchange);
  client.leave();
  ASSERT_TRUE(comes(first));
  bool told = false;
  exchange->on_client_gone([&told] { told = true; });
  EXPECT_TRUE(told);
}

TEST_F(HttpGone, IsNotToldAfterTheReply) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  bool told = false;
  exchange->on_client_gone([&told] { told = true; });
  exchange->reply(text_reply("reply"));
  EXPECT_EQ(client.receive().body, "reply");
  client.leave();
  wait_for_connections(0);
  EXPECT_FALSE(told);
}

TEST_F(HttpGone, MayReplyItself) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  exchange->on_client_gone(
      [weak = std::weak_ptr<Exchange>(exchange)] { weak.lock()->reply(error_reply(503, "cancelled")); });
  client.leave();
  EXPECT_EQ(finished.wait(1)[0].reason, "client_gone");
}

TEST_F(HttpGone, HalfClosedIsNot) {
  options.addresses = {"127.0.0.1:0", "unix:" + unix_path()};
  start();
  for (const std::string& where : server->urls()) {
    for (const char* version : {"1.0", "1.1"}) {
      Client client = connect(where);
      client.send(std::string("GET /hold HTTP/") + version + "\r\nHost: a\r\n\r\n").end_sending();
      const ExchangePtr exchange = next_held();
      const bool is_probed = where.rfind("unix:", 0) != 0 && std::string(version) == "1.1";
      if (is_probed) {
        EXPECT_EQ(client.receive().status, 100);
      }
      EXPECT_FALSE(exchange->client_gone());
      exchange->reply(text_reply("reply"));
      EXPECT_EQ(client.receive().body, "reply") << where << version;
      EXPECT_TRUE(client.is_closed());
    }
    Client client = connect(where);
    client.send(get("/hello") + post("/echo", "both")).end_sending();
    EXPECT_EQ(client.receive().body, "hello");
    EXPECT_EQ(client.receive().body, "both");
    EXPECT_TRUE(client.is_closed());
  }
}

TEST_F(HttpGone, WithinARequestIsToldOf) {
  start();
  connect().send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  const RequestRecord record = finished.wait(1)[0];
  EXPECT_EQ(record.reason, "client_gone");
  EXPECT_EQ(record.route, "/echo");
}

}  // namespace
}  // namespace recblr::server
