// A store of each kind for tests: in memory, in SQLite, in a Redis server that the tests start.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "tiny_bundle.h"
#include "users/stores/opening.h"

namespace recblr::tests {

// A Redis server on a socket in a folder of its own, of the program that RECBLR_REDIS_SERVER names.
class RedisServer {
 public:
  static const char* program();  // NULL: there is none; tests skip then
  // `options` come after those that it is started with; a `sentinel` is made by its configuration.
  explicit RedisServer(const std::vector<std::string>& options = {}, const std::string& sentinel = "");
  ~RedisServer();
  std::string address() const { return "unix://" + socket(); }
  std::string socket() const { return folder_.path() + "/redis.sock"; }
  void start();
  void kill();
  // Sends a command, and returns the text or the number of the reply.
  std::string ask(const std::vector<std::string>& command) const;

 private:
  TemporaryFolder folder_;
  std::vector<std::string> options_;
  std::string sentinel_;
  int process_ = 0;
};

// A port that nobody listens at.
int free_port();

// Tests with each kind: `open` opens the same empty histories each time.
class EachStore : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;
  std::shared_ptr<Store> open(std::optional<int64_t> max_history = std::nullopt);

 private:
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<RedisServer> server_;
};

#define RECBLR_EACH_STORE testing::Values("memory", "sqlite", "redis"), [](const auto& info) { return info.param; }

NewEvent event(const Id& user, const std::vector<Id>& items, std::optional<Id> event_id = std::nullopt,
               std::optional<int64_t> max_history = std::nullopt);
// Appends one event; returns whether it was new.
bool append(Store& store, const NewEvent& event);
Log read(Store& store, const Id& user, Place place = {});
// The texts of the user's events, one after another.
std::string items_of(Store& store, const Id& user);
// The message of the Error(kStore) that a call throws; "" if it throws none.
template <typename Call>
std::string store_error(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kStore) << error.what();
    return error.what();
  }
  return "";
}

}  // namespace recblr::tests
