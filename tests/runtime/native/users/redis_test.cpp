// Redis gone and back, full, failing over, shared with others.
#include "users/stores/redis.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "users/log.h"
#include "users/store_kinds.h"

namespace recblr::tests {
namespace {

const Id kUser = Id::of("u");

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Redis : public ::testing::Test {
 protected:
  void SetUp() override {
    if (RedisServer::program() == nullptr) GTEST_SKIP() << "RECBLR_REDIS_SERVER names no redis-server";
  }
};

TEST_F(Redis, AKilledServerLosesNothingAcknowledged) {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  RedisStore store(server.address(), std::nullopt);
  std::atomic<int64_t> acknowledged{0};
  std::string failure;
  std::thread writer([&] {
    failure = store_error([&] {
      for (int64_t j = 0; j < 1'000'000; ++j) {
        append(store, event(kUser, {Id::of(j)}, Id::of(j)));
        ++acknowledged;
      }
    });
  });
  while (acknowledged < 50) std::this_thread::yield();
  server.kill();
  writer.join();
  EXPECT_TRUE(holds(failure, "whether it was stored is not known; repeat it with its event_id; check the server"))
      << failure;
  const std::string message = store_error([&] { read(store, kUser); });
  EXPECT_TRUE(holds(message, "redis.sock: ") && holds(message, "; nothing was read; check the server")) << message;
  EXPECT_TRUE(holds(store_error([&] { store.forget("su"); }), "whether it was forgotten is not known"));
  EXPECT_TRUE(holds(store_error([&] { RedisStore(server.address(), std::nullopt); }), "nothing was opened"));

  server.start();
  const int64_t unknown = acknowledged;
  append(store, event(kUser, {Id::of(unknown)}, Id::of(unknown)));  // the one whose answer was lost, again
  std::string expected;
  for (int64_t j = 0; j <= unknown; ++j) expected += "[" + std::to_string(j) + "]";
  EXPECT_EQ(items_of(store, kUser), expected);
}

TEST_F(Redis, IdleConnectionsThatTheServerClosedAreNotUsed) {
  RedisServer server;
  RedisStore store(server.address(), std::nullopt);
  append(store, event(kUser, {Id::of(1)}));
  server.ask({"CLIENT", "KILL", "TYPE", "normal"});
  EXPECT_TRUE(append(store, event(kUser, {Id::of(2)})));
  EXPECT_EQ(items_of(store, kUser), "[1][2]");
}

TEST_F(Redis, AServerThatLostItsScriptsIsSentThemAgain) {
  RedisServer server;
  RedisStore store(server.address(), std::nullopt);
  for (int64_t j = 0; j < 3; ++j) {
    server.ask({"SCRIPT", "FLUSH"});
    const NewEvent events[] = {event(kUser, {Id::of(j)}), event(kUser, {Id::of(j)}), event(kUser, {Id::of(j)})};
    Appended appended[3];
    store.append(events, j + 1, appended);
    server.ask({"SCRIPT", "FLUSH"});
    EXPECT_EQ(read(store, kUser, appended[0].place).events.size(), static_cast<size_t>(j));
  }
  EXPECT_EQ(items_of(store, kUser), "[0][1][1][2][2][2]");
}

TEST_F(Redis, AFullServerSaysSoInItsOwnWords) {
  RedisServer server;
  RedisStore store(server.address(), std::nullopt);
  append(store, event(kUser, {Id::of(1)}, Id::of("a")));
  server.ask({"CONFIG", "SET", "maxmemory", "1"});
  const std::string message = store_error([&] { append(store, event(kUser, {Id::of(2)}, Id::of("b"))); });
  EXPECT_TRUE(holds(
      message, ": OOM command not allowed when used memory > 'maxmemory'.; it was not stored; raise its maxmemory"))
      << message;
  EXPECT_EQ(items_of(store, kUser), "[1]");
  server.ask({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(append(store, event(kUser, {Id::of(2)}, Id::of("b"))));
}

TEST_F(Redis, AfterAFailoverWritesRecover) {
  RedisServer leader, replica;
  replica.ask({"REPLICAOF", "localhost", "1"});  // of nobody that answers
  RedisStore store(replica.address(), std::nullopt);
  const std::string message = store_error([&] { append(store, event(kUser, {Id::of(1)})); });
  EXPECT_TRUE(
      holds(message, "READONLY You can't write against a read only replica.; nothing was stored; check the server"))
      << message;
  EXPECT_TRUE(holds(store_error([&] { store.forget("su"); }), "READONLY "));
  replica.ask({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(append(store, event(kUser, {Id::of(1)})));

  // The server behind the address becomes another one, while connections to the old are idle.
  const TemporaryFolder folder;
  const std::string link = folder.path() + "/redis.sock";
  ASSERT_EQ(symlink(replica.socket().c_str(), link.c_str()), 0);
  RedisStore moving("unix://" + link, std::nullopt);
  append(moving, event(kUser, {Id::of(2)}));
  replica.ask({"REPLICAOF", "localhost", "1"});
  unlink(link.c_str());
  ASSERT_EQ(symlink(leader.socket().c_str(), link.c_str()), 0);
  EXPECT_TRUE(append(moving, event(kUser, {Id::of(3)})));
  EXPECT_EQ(items_of(moving, kUser), "[3]");
}

TEST_F(Redis, SentinelsSayWhoLeads) {
  const int first_port = free_port(), second_port = free_port(), sentinel_port = free_port();
  RedisServer first({"--port", std::to_string(first_port)}), second({"--port", std::to_string(second_port)});
  const TemporaryFolder folder;
  const std::string configuration = folder.path() + "/sentinel.conf";
  std::ofstream(configuration) << "sentinel monitor shop 127.0.0.1 " << first_port << " 1\n";
  RedisServer sentinel({"--port", std::to_string(sentinel_port)}, configuration);
  const std::string sentinels = "sentinel://127.0.0.1:" + std::to_string(free_port()) +  // nobody is there
                                ",127.0.0.1:" + std::to_string(sentinel_port);
  RedisStore store(sentinels + "/shop", std::nullopt);
  EXPECT_TRUE(append(store, event(kUser, {Id::of(1)})));
  EXPECT_EQ(first.ask({"EXISTS", "recblr:{su}:events"}), "1");
  const std::string message = store_error([&] { RedisStore(sentinels + "/other", std::nullopt); });
  EXPECT_TRUE(holds(message, "it knows no such service; nothing was opened")) << message;

  // The second takes over: the first is its replica from now on.
  sentinel.ask({"SENTINEL", "REMOVE", "shop"});
  first.ask({"REPLICAOF", "127.0.0.1", std::to_string(second_port)});
  EXPECT_TRUE(holds(store_error([&] { append(store, event(kUser, {Id::of(2)})); }), "it knows no such service"));
  sentinel.ask({"SENTINEL", "MONITOR", "shop", "127.0.0.1", std::to_string(second_port), "1"});
  EXPECT_TRUE(append(store, event(kUser, {Id::of(3)})));
  EXPECT_EQ(second.ask({"LLEN", "recblr:{su}:events"}), "1");
}

TEST_F(Redis, WhatIsNoHistoryHarmsItsUserOnly) {
  RedisServer server;
  RedisStore store(server.address(), std::nullopt);
  server.ask({"SET", "recblr:{sone}:events", "5"});
  server.ask({"RPUSH", "recblr:{stwo}:events", "hello"});
  server.ask({"SET", "recblr:{sthree}:event_ids", "5"});
  const NewEvent events[] = {event(Id::of("a"), {Id::of(1)}), event(Id::of("one"), {Id::of(2)}),
                             event(Id::of("two"), {Id::of(3)}), event(Id::of("three"), {Id::of(4)}, Id::of("id")),
                             event(Id::of("b"), {Id::of(5)})};
  Appended appended[5];
  std::string message = store_error([&] { store.append(events, 5, appended); });
  EXPECT_TRUE(holds(message, "the keys of user 'one' hold something else than a history (WRONGTYPE ")) << message;
  EXPECT_TRUE(holds(message, "; 3 of 5 events were not stored; remove them, or forget the user")) << message;
  EXPECT_EQ(items_of(store, Id::of("a")), "[1]");
  EXPECT_EQ(items_of(store, Id::of("b")), "[5]");
  EXPECT_EQ(items_of(store, Id::of("three")), "");
  message = store_error([&] { append(store, events[2]); });
  EXPECT_TRUE(holds(message,
                    "user 'two' hold something else than a history (NOHISTORY the key holds something else); "
                    "it was not stored"))
      << message;
  for (const Place& place : {Place{}, Place{1, 5}}) {
    EXPECT_TRUE(
        holds(read(store, Id::of("one"), place).fault, "user 'one' hold something else than a history (WRONGTYPE "));
    EXPECT_TRUE(holds(read(store, Id::of("two"), place).fault, "user 'two' hold something else than a history ("));
  }
  EXPECT_EQ(read(store, Id::of("a")).fault, "");
  EXPECT_TRUE(store.forget("sone"));
  EXPECT_TRUE(append(store, events[1]));
}

TEST_F(Redis, UsersOfTheServerLogInAndTheirPasswordsAreInNoMessage) {
  RedisServer server;
  server.ask({"ACL", "SETUSER", "ann", "on", ">secret", "~recblr:*", "+@all", "-info"});
  const std::string socket = server.socket();
  RedisStore store("unix://ann:secret@" + socket, std::nullopt);
  EXPECT_TRUE(append(store, event(kUser, {Id::of(1)})));
  for (const char* user : {"ann:secret2", "bob:secret", ":secret"}) {
    const std::string message =
        store_error([&] { RedisStore("unix://" + std::string(user) + "@" + socket, std::nullopt); });
    EXPECT_TRUE(holds(message, "nothing was opened")) << message;
    EXPECT_FALSE(holds(message, "secret")) << message;
  }
  server.ask({"ACL", "SETUSER", "ann", "-eval", "-evalsha"});
  EXPECT_TRUE(holds(store_error([&] { append(store, event(kUser, {Id::of(1)})); }), "NOPERM "));
  server.ask({"ACL", "SETUSER", "default", "off"});
  EXPECT_TRUE(holds(store_error([&] { RedisStore(server.address(), std::nullopt); }), "NOAUTH "));
}

TEST_F(Redis, AServerThatDropsKeysIsRefusedOrWarnedOf) {
  static std::string warning;
  set_logger([](void*, int level, const char* message) { warning += std::to_string(level) + " " + message; }, nullptr);
  RedisServer server({"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"});
  EXPECT_TRUE(holds(store_error([&] { RedisStore(server.address(), std::nullopt); }),
                    "drops histories when it is full, as its maxmemory-policy is allkeys-lru: set noeviction"));
  EXPECT_EQ(warning, "");
  server.ask({"CONFIG", "SET", "maxmemory", "0"});
  RedisStore(server.address(), std::nullopt);
  EXPECT_TRUE(holds(warning, "30 the store at ") && holds(warning, "drops histories when it is given a maxmemory"));
  warning.clear();
  server.ask({"CONFIG", "SET", "maxmemory-policy", "volatile-lru"});  // histories do not expire
  RedisStore(server.address(), std::nullopt);
  EXPECT_EQ(warning, "");
  set_logger(nullptr, nullptr);
}

TEST_F(Redis, ANodeOfAClusterIsRefused) {
  const RedisServer server({"--cluster-enabled", "yes", "--port", "0"});
  EXPECT_TRUE(holds(store_error([&] { RedisStore(server.address(), std::nullopt); }),
                    "is a node of a cluster, of which one alone does not keep all histories: give a server without"));
}

TEST_F(Redis, PrefixesKeepStoresApartAndNothingIsLeftOfAForgottenUser) {
  RedisServer server;
  RedisStore one(server.address(), std::nullopt, "one"), other(server.address(), std::nullopt, "other");
  append(one, event(kUser, {Id::of(1)}, Id::of("a")));
  append(one, event(Id::of("v"), {Id::of(2)}));
  EXPECT_EQ(items_of(other, kUser), "");
  EXPECT_TRUE(one.forget("su"));
  EXPECT_EQ(server.ask({"KEYS", "*"}), "one:{sv}:events\n");
}

TEST_F(Redis, WhatIsStoredIsWhatPythonStored) {
  RedisServer server;
  RedisStore store(server.address(), 3);
  append(store, event(kUser, {Id::of(1), Id::of("2")}, Id::of("\xc3\xbc 5")));
  const Log log = read(store, kUser);
  EXPECT_EQ(server.ask({"LRANGE", "recblr:{su}:events", "0", "-1"}),
            "1 2 " + std::to_string(log.events[0].stamp) + " 5 s\xc3\xbc 5 [1,\"2\"]\n");
  EXPECT_EQ(server.ask({"SMEMBERS", "recblr:{su}:event_ids"}), "s\xc3\xbc 5\n");
  append(store, event(kUser, {Id::of(3), Id::of(4), Id::of(5)}));
  const Log second = read(store, kUser);
  EXPECT_EQ(server.ask({"LRANGE", "recblr:{su}:events", "0", "-1"}),
            "2 5 " + std::to_string(second.events[0].stamp) + " 0  [3,4,5]\n");
  EXPECT_EQ(server.ask({"SMEMBERS", "recblr:{su}:event_ids"}), "");
}

TEST_F(Redis, AServerThatDoesNotAnswerIsNotWaitedForLonger) {
  RedisServer server;
  RedisStore store(server.address() + "?socket_timeout=0.2", std::nullopt);
  server.ask({"CLIENT", "PAUSE", "1500"});
  EXPECT_TRUE(holds(store_error([&] { append(store, event(kUser, {Id::of(1)})); }),
                    "timeout after 0.2 s waiting for an answer; whether it was stored is not known"));
}

}  // namespace
}  // namespace recblr::tests
