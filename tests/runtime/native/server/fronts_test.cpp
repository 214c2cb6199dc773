#include "server/fronts.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class FrontsTest : public HttpServerFixture {};

// What runs in the pool asks the servers, as metrics do for their connections.
TEST_F(FrontsTest, EndBehindWhatRunsInThePool) {
  Options given;
  given.http.addresses = {"127.0.0.1:0"};
  given.http.threads = 1;
  given.log.level = "error";
  Models models(given.model);
  Observation observation(given.log, given.trace, &models);
  std::promise<void> writing, go_on;
  observation.metrics().add_gauge("recblr_of_a_test", "Waits.", [&] {
    writing.set_value();
    go_on.get_future().wait();
    return 0.0;
  });
  auto fronts = std::make_unique<Fronts>(given, &models, &observation);
  Client client = connect(fronts->urls().at(0));
  client.send(get("/metrics"));
  writing.get_future().wait();
  std::thread ending([&] { fronts.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it has begun, if the machine is not too busy
  go_on.set_value();
  ending.join();
}

TEST_F(FrontsTest, WriteMetricsOnceForAllWhoWait) {
  Options given;
  given.http.addresses = {"127.0.0.1:0"};
  given.log.level = "error";
  Models models(given.model);
  Observation observation(given.log, given.trace, &models);
  std::promise<void> writing, go_on;
  std::atomic<int> n_written{0};
  observation.metrics().add_gauge("recblr_of_a_test", "Waits the first time.", [&] {
    if (++n_written == 1) {
      writing.set_value();
      go_on.get_future().wait();
    }
    return 0.0;
  });
  Fronts fronts(given, &models, &observation);
  std::vector<Client> clients;
  for (int j = 0; j < 30; ++j) clients.push_back(connect(fronts.urls().at(0)));
  clients[0].send(get("/metrics"));
  writing.get_future().wait();
  for (size_t j = 1; j < clients.size(); ++j) clients[j].send(get("/metrics"));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // all have arrived, if the machine is not too busy
  go_on.set_value();
  for (Client& client : clients) {
    const Answer answer = client.receive();
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.body.find("recblr_of_a_test 0"), std::string::npos);
  }
  EXPECT_LT(n_written, 30);
}

}  // namespace
}  // namespace recblr::server
