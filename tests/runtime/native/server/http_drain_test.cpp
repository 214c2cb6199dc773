// The end of a server that has clients.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

constexpr double kLong = 30;

class HttpDrain : public HttpServerFixture {
 protected:
  // In another thread.
  std::thread drain(double timeout) {
    return std::thread([this, timeout] { server->drain(timeout); });
  }
};

TEST_F(HttpDrain, AnswersWhatIsBeingAnswered) {
  start();
  Client client = connect(), idle = connect();
  client.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  std::thread draining = drain(kLong);
  EXPECT_TRUE(idle.is_closed());
  exchange->reply(text_reply("the last"));
  const Answer answer = client.receive();
  EXPECT_EQ(answer.body, "the last");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed());
  draining.join();
  EXPECT_EQ(server->connections(), 0);
  EXPECT_EQ(finished.wait(1)[0].status, 200);
}

TEST_F(HttpDrain, AnswersWhatIsOnItsWay) {
  start();
  Client client = connect();
  EXPECT_EQ(client.ask(get("/hello")).status, 200);
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
  std::thread draining = drain(kLong);
  EXPECT_EQ(client.ask("body").body, "body");
  draining.join();
}

TEST_F(HttpDrain, AnswersTheAcceptQueue) {
  // The only thread is held up while clients come.
  std::promise<void> held, enough;
  router.add(Method::kGet, "/gate", Access::kUser, [&](const ExchangePtr& exchange) {
    held.set_value();
    enough.get_future().wait();
    exchange->reply(text_reply(""));
  });
  options.threads = 1;
  start();
  Client holds = connect();
  holds.send(get("/gate"));
  held.get_future().wait();
  std::vector<Client> clients;
  for (int j = 0; j < 50; ++j) {
    clients.push_back(connect());
    clients.back().send(post("/later", std::to_string(j)));
  }
  std::thread goes_on([&enough] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // drain() has begun, if the machine is not too busy
    enough.set_value();
  });
  server->drain(kLong);
  EXPECT_EQ(server->connections(), 0);
  for (int j = 0; j < 50; ++j) EXPECT_EQ(clients[j].receive().body, std::to_string(j));
  goes_on.join();
}

TEST_F(HttpDrain, EndsInTimeWhateverClientsDo) {
  start();
  Client held = connect(), stalled = connect(), does_not_read = connect();
  held.send(get("/hold"));
  const ExchangePtr exchange = next_held();
  stalled.send("GET /hel");
  does_not_read.send(get("/big"));
  wait_for_connections(3);
  EXPECT_EQ(server->drain(0.2), 2);  // the one that is held, and the one whose reply is not read
  wait_for_connections(0);
  EXPECT_TRUE(exchange->client_gone());
  exchange->reply(text_reply("too late"));
  EXPECT_TRUE(held.is_closed());
  int n_closed = 0;
  for (const RequestRecord& record : finished.wait(3)) {
    if (record.status == 200) continue;
    EXPECT_EQ(record.status, 503);  // the clients had not gone
    EXPECT_EQ(record.reason, "closed");
    ++n_closed;
  }
  EXPECT_EQ(n_closed, 2);
}

TEST_F(HttpDrain, CountsRequestsOnTheirWay) {
  start();
  Client half = connect();
  half.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n12");
  wait_for_connections(1);
  EXPECT_EQ(server->drain(0.1), 1);
}

TEST_F(HttpDrain, DoesNotWaitForClientsWithoutARequest) {
  start();
  Client idle = connect(), half = connect();
  half.send("POST /echo HTTP");
  wait_for_connections(2);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(server->drain(kLong), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));  // the header's time is 10 s
}

TEST_F(HttpDrain, TakesNoMoreConnections) {
  start();
  const std::string where = url();
  server->drain(kLong);
  Client client(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(where.substr(where.rfind(':') + 1))));
  EXPECT_NE(::connect(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
}

// Clients that ask one request after the other lose none: each is answered, or the connection was closed before.
TEST_F(HttpDrain, LosesNoRequestUnderLoad) {
  start();
  std::atomic<int> lost{0}, answered{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      Client client = connect();
      for (;;) {
        const Answer answer = client.ask(post("/later", "body"));
        if (answer.body != "body") ++lost;
        ++answered;
        if (answer.status != 200 || answer.headers.count("connection") > 0) return;
      }
    });
  }
  while (answered < 200) std::this_thread::yield();
  server->drain(kLong);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lost, 0);
}

TEST_F(HttpDrain, BeforeTheStartIsNoHarm) {
  options.addresses = {"127.0.0.1:0"};
  server = std::make_unique<HttpServer>(options, router, nullptr);
  server->drain(kLong);
}

}  // namespace
}  // namespace recblr::server
