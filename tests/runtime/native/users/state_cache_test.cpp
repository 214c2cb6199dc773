// The cache of states: what is put comes back, the least recently used goes, nothing dropped returns.
#include "users/state_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <map>
#include <numeric>
#include <random>
#include <thread>

#include "base/error.h"

namespace recblr {
namespace {

constexpr int64_t kSize = 3;

struct Entry {
  UserItems items;
  std::vector<float> state;
};

bool operator==(const UserItems& a, const UserItems& b) {
  return a.place == b.place && a.seen == b.seen && a.recent == b.recent && a.n_new == b.n_new;
}

class Cache {
 public:
  explicit Cache(int64_t max_bytes, std::optional<int64_t> max_history = std::nullopt)
      : cache(kSize, max_bytes, max_history) {}

  Entry take(const std::string& user) {
    Entry entry{{}, std::vector<float>(kSize, -1)};
    ticket = cache.take(user, &entry.items, entry.state.data());
    return entry;
  }

  void put(const std::string& user, const Entry& entry) {
    take(user);
    cache.put(user, ticket, entry.items, entry.state.data());
  }

  StateCache cache;
  StateCache::Ticket ticket;
};

Entry entry_of(int64_t value, std::vector<int32_t> seen = {}) {
  Entry entry{{}, std::vector<float>(kSize, static_cast<float>(value))};
  entry.items.place = {value, value + (int64_t{1} << 62)};
  entry.items.seen = std::move(seen);
  return entry;
}

TEST(StateCache, AnyOrderOfCallsEqualsALeastRecentlyUsedMap) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const bool is_bounded = round % 3 != 0;
    Cache cache(is_bounded ? 40'000 + round * 500 : int64_t{1} << 30);
    std::list<std::string> order;  // the latest used first
    std::map<std::string, Entry> model;
    const auto use = [&](const std::string& user) {
      order.remove(user);
      order.push_front(user);
    };
    for (int turn = 0; turn < 3'000; ++turn) {
      const std::string user = "s" + std::string(random() % 20, 'x') + std::to_string(random() % 400);
      const auto found = model.find(user);
      switch (random() % 4) {
        case 0: {
          const Entry taken = cache.take(user);
          ASSERT_EQ(cache.ticket.revision != 0, found != model.end()) << user;
          if (found != model.end()) {
            ASSERT_TRUE(taken.items == found->second.items);
            ASSERT_EQ(taken.state, found->second.state);
            use(user);
          } else {
            ASSERT_EQ(taken.state, std::vector<float>(kSize, -1));
          }
          break;
        }
        case 1: {
          std::vector<int32_t> seen(random() % 40);
          std::iota(seen.begin(), seen.end(), 1 + static_cast<int32_t>(random() % 9));
          const Entry entry = entry_of(turn + 1, seen);
          cache.put(user, entry);
          model[user] = entry;
          use(user);
          break;
        }
        case 2: {
          const Place before = found != model.end() && random() % 2 ? found->second.items.place : Place{1, 1};
          const Place place{turn + 1, turn};
          const int32_t items[] = {static_cast<int32_t>(turn), 0, 5};
          cache.cache.add(user, before, place, items, 3);
          if (found != model.end() && before == found->second.items.place) {
            found->second.items.add(items, 3, std::nullopt);
            found->second.items.place = place;
          }
          break;
        }
        default:
          if (random() % 4 == 0) {
            ASSERT_EQ(cache.cache.drop(user), model.erase(user) > 0);
            order.remove(user);
          }
      }
      while (cache.cache.size() < static_cast<int64_t>(model.size())) {
        ASSERT_TRUE(is_bounded);
        model.erase(order.back());
        order.pop_back();
      }
      ASSERT_EQ(cache.cache.size(), static_cast<int64_t>(model.size()));
      if (is_bounded) {
        ASSERT_LE(cache.cache.bytes(), 40'000 + round * 500);
      }
    }
    const std::vector<std::string> users = cache.cache.recent_users(10'000);
    EXPECT_EQ(std::list<std::string>(users.begin(), users.end()), order);
    EXPECT_EQ(cache.cache.recent_users(2).size(), std::min<size_t>(2, order.size()));
    for (const auto& [user, entry] : model) {
      const Entry taken = cache.take(user);
      ASSERT_TRUE(taken.items == entry.items);
      ASSERT_EQ(taken.state, entry.state);
    }
  }
}

TEST(StateCache, ItemsSeenCountAgainstTheBound) {
  Cache cache(1 << 20);
  cache.put("small", entry_of(1));
  std::vector<int32_t> many(300'000);
  std::iota(many.begin(), many.end(), 1);
  cache.put("too large for it", entry_of(1, many));
  EXPECT_EQ(cache.cache.recent_users(9), (std::vector<std::string>{"small"}));
  // Items that arrive one event after the other grow beyond it, too.
  for (int64_t seq = 1; cache.cache.size() == 1; ++seq) {
    ASSERT_LT(seq, 1'000);
    const Entry found = cache.take("small");
    cache.cache.add("small", found.items.place, {seq + 1, 5}, many.data(), 1'000);
    ASSERT_LE(cache.cache.bytes(), 1 << 20);
  }
  EXPECT_EQ(cache.cache.bytes(), 0);
}

TEST(StateCache, AShortHistoryTakesFourHundredthsMore) {
  constexpr int64_t kStateSize = 1'088;
  StateCache cache(kStateSize, int64_t{1} << 30, std::nullopt);
  std::vector<float> state(kStateSize, 1);
  UserItems items;
  items.seen = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  for (int n = 0; n < 1'000; ++n) cache.put("suser-1000000" + std::to_string(n), {}, items, state.data());
  ASSERT_EQ(cache.size(), 1'000);
  EXPECT_LT(static_cast<double>(cache.bytes()) / (1'000 * 4 * kStateSize), 1.04);
}

TEST(StateCache, AStateUnderWayIsRefusedAfterADrop) {
  Cache cache(1 << 20);
  cache.take("a");
  const StateCache::Ticket before_it_was_put = cache.ticket;
  cache.cache.drop("a");
  cache.cache.put("a", before_it_was_put, entry_of(1).items, entry_of(1).state.data());
  EXPECT_EQ(cache.cache.size(), 0);
  cache.put("a", entry_of(2));
  cache.take("a");
  const StateCache::Ticket of_the_first = cache.ticket;
  cache.cache.drop("a");
  cache.cache.put("a", of_the_first, entry_of(3).items, entry_of(3).state.data());
  EXPECT_EQ(cache.cache.size(), 0);
}

TEST(StateCache, OfTwoThatFeedAStateTheFirstIsKept) {
  Cache cache(1 << 20);
  cache.put("a", entry_of(1));
  cache.take("a");
  const StateCache::Ticket ticket = cache.ticket;
  cache.cache.put("a", ticket, entry_of(2).items, entry_of(2).state.data());
  cache.cache.put("a", ticket, entry_of(3).items, entry_of(3).state.data());
  EXPECT_EQ(cache.take("a").state, entry_of(2).state);
}

TEST(StateCache, StatesThatAreNotFiniteAreNotKept) {
  for (const float value : {std::nanf(""), INFINITY}) {
    Cache cache(1 << 20);
    Entry entry = entry_of(1);
    entry.state[1] = value;
    cache.put("a", entry);
    EXPECT_EQ(cache.cache.size(), 0);
  }
}

TEST(StateCache, ANegativeSizeIsRefused) {
  try {
    StateCache cache(kSize, -1, std::nullopt);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    EXPECT_STREQ(error.what(), "cache_bytes is -1: give a whole number of bytes, 0 for no cache");
  }
}

TEST(StateCache, ThreadsMayShareIt) {
  Cache cache(30'000);
  std::vector<std::thread> threads;
  for (int seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&cache, seed] {
      std::mt19937 random(static_cast<unsigned>(seed));
      for (int turn = 0; turn < 3'000; ++turn) {
        const std::string user = "s" + std::to_string(random() % 300);
        Entry entry{{}, std::vector<float>(kSize)};
        const StateCache::Ticket ticket = cache.cache.take(user, &entry.items, entry.state.data());
        // What is put together stays together.
        if (ticket.revision != 0) {
          ASSERT_EQ(entry.items.place.seq, static_cast<int64_t>(entry.state[0]));
        }
        entry = entry_of(static_cast<int64_t>(random() % 1'000));
        cache.cache.put(user, ticket, entry.items, entry.state.data());
        if (random() % 16 == 0) cache.cache.drop(user);
        if (random() % 64 == 0) cache.cache.recent_users(5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.cache.bytes(), 30'000);
}

TEST(UserItems, WithoutMaxHistoryAllThatWasFedIsSeen) {
  UserItems items;
  std::vector<int32_t> fed;
  const int32_t first[] = {5, 0, 3, 5}, second[] = {4, 3};
  items.add(first, 4, std::nullopt);
  items.feed(std::nullopt, &fed);
  EXPECT_EQ(fed, (std::vector<int32_t>{5, 3, 5}));
  items.add(second, 2, std::nullopt);
  EXPECT_EQ(items.n_new, 2);
  items.feed(std::nullopt, &fed);
  EXPECT_EQ(fed, (std::vector<int32_t>{5, 3, 5, 4, 3}));
  EXPECT_EQ(items.seen, (std::vector<int32_t>{3, 4, 5}));
  EXPECT_TRUE(items.recent.empty());
}

TEST(UserItems, WithMaxHistoryWhatIsTrimmedLeavesTheSeenItems) {
  UserItems items;
  std::vector<int32_t> fed;
  const int32_t first[] = {5, 0, 3}, second[] = {4, 3};
  items.add(first, 3, 3);
  EXPECT_TRUE(items.is_state_outdated(3));  // there was none
  items.feed(3, &fed);
  EXPECT_EQ(fed, (std::vector<int32_t>{5, 3}));
  EXPECT_EQ(items.seen, (std::vector<int32_t>{3, 5}));
  items.add(second, 2, 3);
  EXPECT_FALSE(items.is_state_outdated(3));
  fed.clear();
  items.feed(3, &fed);
  EXPECT_EQ(fed, (std::vector<int32_t>{4, 3}));
  EXPECT_EQ(items.seen, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(items.recent, (std::vector<int32_t>{3, 4, 3}));
  for (int j = 0; j < 3; ++j) items.add(second, 1, 3);
  EXPECT_TRUE(items.is_state_outdated(3));
}

}  // namespace
}  // namespace recblr
