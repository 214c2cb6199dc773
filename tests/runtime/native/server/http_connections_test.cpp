// Several requests of one connection, and its end.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class HttpConnections : public HttpServerFixture {};

TEST_F(HttpConnections, AnswerPipelinedRequestsInOrder) {
  start();
  Client client = connect();
  std::string requests;
  for (int j = 0; j < 100; ++j) requests += post(j % 3 == 0 ? "/later" : "/echo", std::to_string(j));
  client.send(requests);
  for (int j = 0; j < 100; ++j) EXPECT_EQ(client.receive().body, std::to_string(j));
}

TEST_F(HttpConnections, KeepWhatComesWhileARequestIsAnswered) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  const std::string large(300'000, 'x');
  client.send(post("/echo", "next"));
  std::thread sends([&] { client.send(post("/echo", large)); });  // more than is taken meanwhile
  EXPECT_FALSE(exchange->client_gone());
  exchange->reply(text_reply("first"));
  EXPECT_EQ(client.receive().body, "first");
  EXPECT_EQ(client.receive().body, "next");
  sends.join();
  EXPECT_EQ(client.receive().body, large);
}

TEST_F(HttpConnections, EndWhereTheClientSaysSo) {
  start();
  Client client = connect();
  Answer answer = client.ask(get("/hello", "Connection: close\r\n"));
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed());
  wait_for_connections(0);
}

TEST_F(HttpConnections, OfHttp10EndUnlessTheClientSaysOtherwise) {
  start();
  Client closing = connect();
  EXPECT_EQ(closing.ask("GET /hello HTTP/1.0\r\n\r\n").headers.at("connection"), "close");
  EXPECT_TRUE(closing.is_closed());
  Client kept = connect();
  for (int times = 0; times < 2; ++times) {
    EXPECT_EQ(kept.ask("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").headers.at("connection"), "keep-alive");
  }
}

TEST_F(HttpConnections, AreServedWhileALargeReplyIsSent) {
  options.threads = 1;
  start();
  Client slow = connect();
  slow.send(get("/big"));
  Client quick = connect();
  for (int times = 0; times < 10; ++times) EXPECT_EQ(quick.ask(get("/hello")).body, "hello");
  EXPECT_EQ(slow.receive().body, std::string(8'000'000, 'b'));
  EXPECT_EQ(slow.ask(get("/hello")).body, "hello");
}

TEST_F(HttpConnections, OfManyThreadsGetTheirOwnAnswers) {
  start();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([this, thread, &wrong] {
      Client client = connect();
      for (int j = 0; j < 200; ++j) {
        const std::string body = std::to_string(thread) + ":" + std::to_string(j);
        if (client.ask(post(j % 2 == 0 ? "/later" : "/echo", body)).body != body) ++wrong;
        if (j % 50 == 49) client = connect();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(finished.wait(1600).size(), 1600u);
  wait_for_connections(0);
}

TEST_F(HttpConnections, OutlivedByExchangesAreNoHarm) {
  start();
  Client client = connect();
  client.send(get("/hold"));
  ExchangePtr replied = next_held();
  Client other = connect();
  other.send(get("/hold"));
  ExchangePtr let_go = next_held();
  server.reset();
  EXPECT_TRUE(replied->client_gone());
  replied->reply(text_reply("to nobody"));
  let_go.reset();
  EXPECT_TRUE(client.is_closed());
}

}  // namespace
}  // namespace recblr::server
