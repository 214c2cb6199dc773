// One set of tests for all stores: what is stored is what comes back, whoever else writes.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "users/store_kinds.h"

namespace recblr::tests {
namespace {

using namespace std::string_view_literals;

const std::vector<Id> kUsers = {Id::of(1),
                                Id::of("1"),
                                Id::of("\xc3\xbc}{ \n"),
                                Id::of(-5),
                                Id{IdType::kInteger, 0, "1208925819614629174706176"},
                                Id::of("a\0b"sv)};
const std::vector<Id> kItems = {
    Id::of(7),  Id::of("7"), Id{IdType::kInteger, 0, "9223372036854775808"}, Id::of("\xc3\xbcn\xc3\xaf \"quoted\" [1]"),
    Id::of(""), Id::of(-1)};

class Stores : public EachStore {};
INSTANTIATE_TEST_SUITE_P(Each, Stores, RECBLR_EACH_STORE);

TEST_P(Stores, ItemsComeBackAsTheyWereGiven) {
  const auto store = open();
  for (size_t j = 0; j < kUsers.size(); ++j) {
    std::vector<Id> items = kItems;
    items.push_back(Id::of(static_cast<int64_t>(j)));
    EXPECT_TRUE(append(*store, event(kUsers[j], items)));
  }
  for (size_t j = 0; j < kUsers.size(); ++j) {
    EXPECT_EQ(
        items_of(*store, kUsers[j]),
        "[7,\"7\",9223372036854775808,\"\xc3\xbcn\xc3\xaf \\\"quoted\\\" [1]\",\"\",-1," + std::to_string(j) + "]");
  }
  EXPECT_TRUE(read(*store, Id::of("nobody")).events.empty());
  store->append(nullptr, 0, nullptr);
  store->read(nullptr, nullptr, 0, nullptr);
}

TEST_P(Stores, EventsAreNumberedWithoutGapsAndReadFromAnyPlace) {
  const auto store = open();
  Appended appended[5];
  std::vector<NewEvent> events;
  for (int64_t j = 0; j < 5; ++j) events.push_back(event(Id::of("u"), {Id::of(j)}));
  store->append(events.data(), 5, appended);
  const Log all = read(*store, Id::of("u"));
  ASSERT_EQ(all.events.size(), 5u);
  std::set<int64_t> stamps;
  for (size_t j = 0; j < 5; ++j) {
    const Place place{all.events[j].seq, all.events[j].stamp};
    EXPECT_EQ(place.seq, static_cast<int64_t>(j) + 1);
    EXPECT_TRUE(appended[j].is_new && appended[j].place == place);
    EXPECT_EQ(appended[j].stamp_before, j == 0 ? 0 : all.events[j - 1].stamp);
    stamps.insert(place.stamp);

    Log log = read(*store, Id::of("u"), place);
    EXPECT_TRUE(log.continues);
    ASSERT_EQ(log.events.size(), 4 - j);
    if (j < 4) {
      EXPECT_EQ(log.events[0].seq, place.seq + 1);
      EXPECT_EQ(log.items(log.events[0]), "[" + std::to_string(j + 1) + "]");
    }
    log = read(*store, Id::of("u"), {place.seq, kAnyStamp});
    EXPECT_EQ(log.events.size(), 4 - j);
    // Another event of that number: a history that went on otherwise.
    log = read(*store, Id::of("u"), {place.seq, place.stamp ^ 1});
    EXPECT_FALSE(log.continues);
    EXPECT_EQ(log.events.size(), 5u);
  }
  EXPECT_EQ(stamps.size(), 5u);
  for (const int64_t beyond : {6, 99}) {
    const Log log = read(*store, Id::of("u"), {beyond, all.events[4].stamp});
    EXPECT_FALSE(log.continues);
    EXPECT_EQ(log.events.size(), 5u);
    EXPECT_TRUE(read(*store, Id::of("u"), {beyond, kAnyStamp}).events.empty());
  }
  const Log nobody = read(*store, Id::of("nobody"), {3, 5});
  EXPECT_FALSE(nobody.continues);
  EXPECT_TRUE(nobody.events.empty());
}

TEST_P(Stores, ManyUsersAreReadAtOnce) {
  const auto store = open();
  std::vector<NewEvent> events;
  std::vector<std::string> keys;
  for (int64_t n = 0; n < 100; ++n) {
    keys.push_back(key_of(Id::of(n)));
    events.push_back(event(Id::of(n), {Id::of(n)}));
    events.push_back(event(Id::of(n), {Id::of(-n)}));
  }
  std::vector<Appended> appended(200);
  store->append(events.data(), 200, appended.data());
  const std::vector<std::string_view> users(keys.begin(), keys.end());
  std::vector<Place> places;
  for (size_t n = 0; n < 100; ++n) places.push_back(n % 2 ? appended[2 * n].place : Place{});
  std::vector<Log> logs(100);
  store->read(users.data(), places.data(), 100, logs.data());
  for (size_t n = 0; n < 100; ++n) {
    ASSERT_EQ(logs[n].events.size(), n % 2 ? 1u : 2u);
    EXPECT_EQ(logs[n].items(logs[n].events.back()), "[" + std::to_string(-static_cast<int64_t>(n)) + "]");
  }
}

TEST_P(Stores, AnEventIdCountsOncePerUser) {
  const auto store = open();
  const Id u = Id::of("u"), v = Id::of("v"), a = Id::of("a"), b = Id::of("b");
  Appended appended[3];
  const NewEvent events[] = {event(u, {Id::of(1)}, a), event(u, {Id::of(1)}, a), event(v, {Id::of(1)}, a)};
  store->append(events, 3, appended);
  EXPECT_TRUE(appended[0].is_new && !appended[1].is_new && appended[2].is_new);
  EXPECT_TRUE(append(*store, event(u, {Id::of(2)}, b)));
  EXPECT_TRUE(append(*store, event(u, {Id::of(3)}, Id::of(5))));
  EXPECT_TRUE(append(*store, event(u, {Id::of(4)}, Id::of("5"))));
  for (const Id& odd : {Id::of("\0"sv), Id::of("a\0b"sv), Id::of(""), Id::of(" 1 2 ")}) {
    EXPECT_TRUE(append(*store, event(v, {Id::of(2)}, odd)));
    EXPECT_FALSE(append(*store, event(v, {Id::of(2)}, odd)));
  }
  EXPECT_FALSE(append(*store, event(u, {Id::of(9)}, a)));
  EXPECT_FALSE(append(*store, event(u, {Id::of(9)}, Id::of(5))));
  EXPECT_TRUE(append(*store, event(u, {Id::of(5)})));
  EXPECT_EQ(items_of(*store, u), "[1][2][3][4][5]");
  EXPECT_EQ(items_of(*store, v), "[1][2][2][2][2]");
}

TEST_P(Stores, NothingIsLeftOfAForgottenUser) {
  const auto store = open();
  const Id u = Id::of("u"), v = Id::of("v"), a = Id::of("a");
  append(*store, event(u, {Id::of(1)}, a));
  append(*store, event(v, {Id::of(2)}, a));
  const Log before = read(*store, u);
  EXPECT_TRUE(store->forget(key_of(u)));
  EXPECT_FALSE(store->forget(key_of(u)));
  EXPECT_EQ(items_of(*store, u), "");
  EXPECT_EQ(items_of(*store, v), "[2]");
  EXPECT_TRUE(append(*store, event(u, {Id::of(1)}, a)));
  const Log after = read(*store, u);
  EXPECT_EQ(after.events[0].seq, 1);
  EXPECT_NE(after.events[0].stamp, before.events[0].stamp);
}

TEST_P(Stores, TrimmingKeepsTheLatestItemsAndGoesOnCounting) {
  const auto store = open(4);
  const Id u = Id::of("u");
  for (int64_t j = 0; j < 10; ++j) append(*store, event(u, {Id::of(j)}, Id::of(j)));
  EXPECT_EQ(items_of(*store, u), "[6][7][8][9]");
  EXPECT_EQ(read(*store, u).events[0].seq, 7);
  EXPECT_EQ(read(*store, u, {2, kAnyStamp}).events.size(), 4u);
  EXPECT_EQ(read(*store, u, {8, kAnyStamp}).events.size(), 2u);
  EXPECT_FALSE(append(*store, event(u, {Id::of(99)}, Id::of(9))));
  EXPECT_FALSE(append(*store, event(u, {Id::of(99)}, Id::of(6))));
  EXPECT_TRUE(append(*store, event(u, {Id::of(98)}, Id::of(5))));
  std::vector<Id> many;
  for (int64_t j = 100; j < 120; ++j) many.push_back(Id::of(j));
  append(*store, event(u, many, std::nullopt, store->max_history()));
  EXPECT_EQ(items_of(*store, u), "[116,117,118,119]");
  append(*store, event(u, {Id::of(1)}));
  EXPECT_EQ(items_of(*store, u), "[116,117,118,119][1]");  // whole events only
}

TEST_P(Stores, AnyOrderOfCallsEqualsLists) {
  struct Kept {
    std::string text;
    int64_t n_items;
    int64_t event_id;
  };
  for (int seed = 0; seed < 12; ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::optional<int64_t> max_history;
    if (seed % 3 != 0) max_history = 1 + seed % 6;
    const auto store = open(max_history);
    for (const Id& user : kUsers) store->forget(key_of(user));
    std::map<size_t, std::vector<Kept>> model;
    for (int turn = 0; turn < 30; ++turn) {
      const size_t user = random() % kUsers.size();
      if (random() % 6 == 0) {
        ASSERT_EQ(store->forget(key_of(kUsers[user])), model.erase(user) > 0);
        continue;
      }
      std::vector<Id> items(1 + random() % 4);
      for (Id& item : items) item = kItems[random() % kItems.size()];
      const auto event_id = static_cast<int64_t>(random() % 5);  // 4: none
      const NewEvent added =
          event(kUsers[user], items, event_id == 4 ? std::nullopt : std::optional(Id::of(event_id)), max_history);
      std::vector<Kept>& log = model[user];
      const bool is_new = event_id == 4 || std::none_of(log.begin(), log.end(),
                                                        [&](const Kept& kept) { return kept.event_id == event_id; });
      ASSERT_EQ(append(*store, added), is_new);
      if (is_new) log.push_back({added.items, added.n_items, event_id});
      int64_t total = 0;
      for (const Kept& kept : log) total += kept.n_items;
      while (max_history && total - log.front().n_items >= *max_history) {
        total -= log.front().n_items;
        log.erase(log.begin());
      }
    }
    for (size_t user = 0; user < kUsers.size(); ++user) {
      std::string expected;
      for (const Kept& kept : model[user]) expected += kept.text;
      EXPECT_EQ(items_of(*store, kUsers[user]), expected);
    }
    store->close();
  }
}

TEST_P(Stores, ThreadsLoseAndDoubleNothing) {
  const auto store = open();
  constexpr int64_t kThreads = 6, kEvents = 30;
  std::vector<std::thread> threads;
  std::atomic<int64_t> n_new{0};
  for (int64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int64_t j = 0; j < kEvents; ++j) {
        const std::string shared = "shared " + std::to_string(j);
        const NewEvent events[] = {event(Id::of("u"), {Id::of(thread * 1000 + j)}),
                                   event(Id::of("u"), {Id::of(-j - 1)}, Id::of(shared))};
        Appended appended[2];
        store->append(events, 2, appended);
        n_new += appended[0].is_new + appended[1].is_new;
        read(*store, Id::of("u"), {j, kAnyStamp});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Log log = read(*store, Id::of("u"));
  ASSERT_EQ(log.events.size(), static_cast<size_t>((kThreads + 1) * kEvents));
  EXPECT_EQ(n_new, (kThreads + 1) * kEvents);
  std::map<int64_t, int64_t> next;
  std::set<std::string> different;
  for (size_t j = 0; j < log.events.size(); ++j) {
    EXPECT_EQ(log.events[j].seq, static_cast<int64_t>(j) + 1);
    const std::string text(log.items(log.events[j]));
    different.insert(text);
    const int64_t item = std::stoll(text.substr(1));
    if (item >= 0) {
      EXPECT_EQ(item % 1000, next[item / 1000]++);
    }  // each thread's in its order
  }
  EXPECT_EQ(different.size(), log.events.size());
}

TEST_P(Stores, AClosedStoreSaysSo) {
  const auto store = open();
  store->close();
  store->close();
  for (const std::string& message :
       {store_error([&] { append(*store, event(Id::of("u"), {Id::of(1)})); }),
        store_error([&] { read(*store, Id::of("u")); }), store_error([&] { store->forget("su"); })}) {
    EXPECT_NE(message.find("closed: open it again"), std::string::npos) << message;
  }
}

TEST_P(Stores, AForkSaysSo) {
  const auto store = open();
  append(*store, event(Id::of("u"), {Id::of(1)}));
  const pid_t child = fork();
  if (child == 0) {
    try {
      append(*store, event(Id::of("u"), {Id::of(2)}));
    } catch (const Error& error) {
      const bool is_right = std::string(error.what()).find("make the store after the fork") != std::string::npos;
      _exit(error.code() == Code::kFork && is_right ? 7 : 1);
    }
    _exit(2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(items_of(*store, Id::of("u")), "[1]");
}

TEST_P(Stores, MaxHistoryOutOfRange) {
  for (const int64_t max_history : {0, -1}) {
    try {
      open(max_history);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kConfig);
      EXPECT_EQ(error.what(), "max_history is " + std::to_string(max_history) +
                                  ": give a whole number of at least 1, or none to keep all");
    }
  }
}

TEST(OpenStore, WhatIsNoneIsRefused) {
  StoreSettings other;
  other.synchronous = "OFF";
  for (const auto& [where, settings, reason] :
       {std::tuple{"http://user:secret@host", StoreSettings(),
                   "store 'http://***@host' has none of the schemes redis://"},
        std::tuple{"folder", other, "synchronous is 'OFF': give \"FULL\" or \"NORMAL\""}}) {
    try {
      open_store(where, settings);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kConfig);
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace recblr::tests
