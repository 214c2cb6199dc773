#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class HttpLimitsTest : public HttpServerFixture {};

TEST_F(HttpLimitsTest, OfTheHeader) {
  options.limits.max_header_bytes = 1000;
  start();
  const Answer answer = connect().ask(get("/hello", "X: " + std::string(1000, 'x') + "\r\n"));
  EXPECT_EQ(answer.status, 431);
  EXPECT_EQ(answer.error(), "the request's header is longer than 1000 bytes: send less");
}

TEST_F(HttpLimitsTest, OfTimeForHeaderAndBody) {
  options.limits.header_timeout = options.limits.body_timeout = 0.05;
  start();
  for (const char* bytes :
       {"G", "GET /hello HTTP/1.1\r\nHost: a\r\n", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"}) {
    Client client = connect();
    const Answer answer = client.ask(bytes);
    EXPECT_EQ(answer.status, 408) << bytes;
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_TRUE(client.is_closed());
  }
  EXPECT_EQ(finished.wait(3)[0].reason, "deadline");
}

TEST_F(HttpLimitsTest, OfTimeDoNotHoldForHandlers) {
  options.limits.header_timeout = options.limits.body_timeout = options.limits.keep_alive = 0.05;
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  Client other = connect();
  EXPECT_TRUE(other.is_closed());  // as long as it takes for that
  exchange->reply(text_reply("late"));
  EXPECT_EQ(client.receive().body, "late");
}

TEST_F(HttpLimitsTest, OfIdleTimeCloseWithoutAWord) {
  options.limits.keep_alive = 0.05;
  start();
  Client client = connect();
  EXPECT_EQ(client.ask(get("/hello")).status, 200);
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(finished.wait(1).size(), 1u);
}

TEST_F(HttpLimitsTest, OfTimeForClientsThatDoNotRead) {
  options.limits.write_timeout = 0.05;
  start();
  Client client = connect();
  client.send(get("/big"));
  wait_for_connections(1);
  wait_for_connections(0);
}

TEST_F(HttpLimitsTest, OfConnections) {
  options.limits.max_connections = 2;
  start();
  Client first = connect(), second = connect();
  EXPECT_EQ(first.ask(get("/hello")).status, 200);
  EXPECT_EQ(second.ask(get("/hello")).status, 200);
  Client third = connect();
  const Answer answer = third.ask(post("/echo", "body"));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  third.leave();
  second.leave();
  wait_for_connections(1);
  EXPECT_EQ(connect().ask(get("/hello")).status, 200);
}

TEST_F(HttpLimitsTest, OfRequestsAtOnce) {
  options.limits.max_concurrent = 1;
  start();
  Client first = connect(), second = connect();
  first.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  const Answer answer = second.ask(post("/later", "body"));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  EXPECT_EQ(second.ask(get("/public")).status, 200);  // health
  exchange->reply(text_reply(""));
  EXPECT_EQ(first.receive().status, 200);
  EXPECT_EQ(second.ask(post("/later", "body")).body, "body");
  EXPECT_EQ(finished.wait(1)[0].reason, "overloaded");
}

TEST_F(HttpLimitsTest, OfBodiesAtOnce) {
  options.limits.max_body_bytes = 1000;
  options.limits.max_bodies_bytes = 2000;
  start();
  const std::string body(900, 'x');
  Client client = connect();
  for (int times = 0; times < 5; ++times) EXPECT_EQ(client.ask(post("/echo", body)).status, 200);  // one at a time
  Client first = connect(), second = connect();
  first.send(post("/hold", body));
  const ExchangePtr of_first = next_held();
  second.send(post("/hold", body));
  const ExchangePtr of_second = next_held();
  const Answer answer = client.ask(post("/echo", body));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  EXPECT_EQ(answer.error(), "the bodies of requests and replies take as much memory as they may: try again later");
  EXPECT_EQ(connect().ask(get("/hello")).status, 200);
  EXPECT_EQ(finished.wait(6)[5].reason, "overloaded");
}

TEST_F(HttpLimitsTest, OfRepliesThatClientsDoNotRead) {
  options.limits.max_bodies_bytes = 20'000'000;
  options.limits.max_body_bytes = 1000;
  start();
  {
    Client first = connect(), second = connect();  // eight million bytes each
    first.send(get("/big"));
    second.send(get("/big"));
    finished.wait(2);
    const Answer answer = connect().ask(get("/big"));
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.headers.at("retry-after"), "1");
    EXPECT_EQ(answer.error(), "the bodies of requests and replies take as much memory as they may: try again later");
    EXPECT_EQ(finished.wait(3)[2].reason, "overloaded");
    EXPECT_EQ(connect().ask(get("/hello")).status, 200);
    EXPECT_EQ(first.receive().body.size(), 8'000'000U);
    EXPECT_EQ(connect().ask(get("/big")).status, 200);
  }
  wait_for_connections(0);
  Client client = connect();
  for (int times = 0; times < 3; ++times) EXPECT_EQ(client.ask(get("/big")).status, 200);  // one at a time
}

TEST_F(HttpLimitsTest, OfOpenFilesArePassedWhenThereAreSomeAgain) {
  std::promise<std::string> promise;
  std::atomic<int> warnings{0};
  options.warn = [&](const std::string& line) {
    if (++warnings == 1) promise.set_value(line);
  };
  start();
  Client idle = connect();
  EXPECT_EQ(idle.ask(get("/hello")).status, 200);
  Client client(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  ASSERT_EQ(::getpeername(idle.fd(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  rlimit files;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const rlimit none{0, files.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(::connect(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  std::future<std::string> warning = promise.get_future();
  const bool is_warned = warning.wait_for(std::chrono::seconds(10)) == std::future_status::ready;
  EXPECT_TRUE(idle.is_closed());  // to make room
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  ASSERT_TRUE(is_warned);
  EXPECT_NE(warning.get().find("connections cannot be accepted: Too many open files"), std::string::npos);
  EXPECT_EQ(client.ask(get("/hello")).status, 200);
}

}  // namespace
}  // namespace recblr::server
