// Users: answers equal those of the whole stored history, whatever was cached, lost, swapped or written meanwhile.
#include "users/recommender.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "backends/callback.h"
#include "id_rows.h"
#include "toy_model.h"
#include "users/items_text.h"
#include "users/log.h"
#include "users/store_kinds.h"
#include "users/stores/memory.h"

namespace recblr::tests {
namespace {

using Items = std::vector<int32_t>;
constexpr int64_t kItems = 9;
constexpr int64_t kCache = 1 << 20;

struct Answer {
  Items items;
  std::vector<float> scores;
  bool popular = false;
};

bool operator==(const Answer& a, const Answer& b) {
  return a.items == b.items && a.scores == b.scores && a.popular == b.popular;
}

// A toy bundle of items 10, 20, ... 90, or "item-1" ..., and its engine.
class Toy {
 public:
  explicit Toy(bool has_string_ids = false, float sign = 1) {
    TinyBundle tiny;
    tiny.n_items = kItems;
    tiny.has_string_ids = has_string_ids;
    write_bundle(tiny, folder_.path());
    bundle = Bundle::open(folder_.path());
    engine = make([bundle = bundle, sign](const ArrayRun& run) { run_signed(*bundle, run, sign); });
  }

  std::shared_ptr<Engine> make(const std::function<void(const ArrayRun&)>& run) const {
    const auto backend =
        std::make_shared<CallbackBackend>(bundle, Callback{run, {256, 65536, 65536}, kItems, "a toy"}, 1);
    return std::make_shared<Engine>(bundle, backend, std::nullopt);
  }

  // What the model makes of a history: states of a model with sign -1 are the negative of the other's.
  static void run_signed(const Bundle& bundle, const ArrayRun& run, float sign) {
    std::vector<float> states(run.state_in, run.state_in + run.n_rows * bundle.state_size());
    for (float& x : states) x *= sign;
    ArrayRun other = run;
    other.state_in = states.data();
    run_toy(bundle, other);
    for (int64_t j = 0; j < run.n_rows * bundle.state_size(); ++j) run.state_out[j] *= sign;
  }

  Answer answer(const Items& history, const Items& exclude, size_t k) const {
    std::vector<float> state = bundle->initial_state();
    feed_toy(history.data(), static_cast<int64_t>(history.size()), &state);
    Answer answer;
    answer.items = toy_ranking(*bundle, state.data(), exclude);
    answer.items.resize(std::min(k, answer.items.size()));
    const std::vector<float> scores = toy_scores(*bundle, state.data());
    for (const int32_t item : answer.items) answer.scores.push_back(scores[static_cast<size_t>(item)]);
    return answer;
  }

  std::shared_ptr<const Bundle> bundle;
  std::shared_ptr<Engine> engine;

 private:
  TemporaryFolder folder_;
};

const Toy& toy() {
  static const Toy toy;
  return toy;
}

std::vector<Id> ids_of(const std::vector<int64_t>& items) {
  std::vector<Id> ids;
  for (const int64_t item : items) ids.push_back(Id::of(item));
  return ids;
}

bool add_ids(Recommender& recommender, const Id& user, const std::vector<Id>& items, std::optional<Id> event_id = {}) {
  EventView event{user, items.data(), static_cast<int64_t>(items.size()), event_id ? &*event_id : nullptr};
  uint8_t added = 2;
  recommender.add_events(&event, 1, &added);
  return added == 1;
}

bool add(Recommender& recommender, const Id& user, const std::vector<int64_t>& items) {
  return add_ids(recommender, user, ids_of(items));
}

std::vector<Answer> ask(Recommender& recommender, const std::vector<Id>& users, int64_t k = 5, bool exclude_seen = true,
                        const Integers& exclude = {}, const Only& only = {}) {
  Work work;
  Request request;
  request.k = k;
  request.exclude_seen = exclude_seen;
  request.only = only;
  const IdRows excluded(exclude);
  const Ids view = excluded.ids();
  if (!exclude.empty()) request.exclude = &view;
  recommender.recommend(users.data(), static_cast<int64_t>(users.size()), request, &work);
  std::vector<Answer> answers;
  for (int64_t b = 0; b < work.n_rows; ++b) {
    const Ranking ranking = work.ranking(b);
    EXPECT_EQ(ranking.unknown, 0);
    answers.push_back({Items(ranking.items, ranking.items + ranking.count),
                       std::vector<float>(ranking.scores, ranking.scores + ranking.count), ranking.popular});
  }
  return answers;
}

// The user's items as the model's indices, 0 for one that it does not know.
Items history(Recommender& recommender, const Id& user) {
  Items items;
  int64_t first = 0;
  const Log log = recommender.history(user, &first);
  for (const Log::Event& event : log.events) {
    ItemsReader reader(log.items(event));
    for (Id item; reader.next(&item);) {
      const bool is_known = item.type == IdType::kInteger && item.integer % 10 == 0 && item.integer / 10 <= kItems;
      items.push_back(is_known ? static_cast<int32_t>(item.integer / 10) : 0);
    }
  }
  items.erase(items.begin(), items.begin() + first);
  return items;
}

Items known(Items items) {
  items.erase(std::remove(items.begin(), items.end(), 0), items.end());
  return items;
}

// Compares a user's answer with that to the whole history.
void check(Recommender& recommender, const Id& user, int64_t k = 5) {
  const Items items = known(history(recommender, user));
  const Answer found = ask(recommender, {user}, k)[0];
  EXPECT_EQ(found.popular, items.empty());
  if (!items.empty()) {
    EXPECT_TRUE(found == toy().answer(items, items, static_cast<size_t>(k)));
  }
}

class Users : public EachStore {};
INSTANTIATE_TEST_SUITE_P(Each, Users, RECBLR_EACH_STORE);

TEST_P(Users, AnswersFollowTheEvents) {
  Recommender recommender(toy().engine, open(), kCache);
  const Id user = Id::of("u");
  EXPECT_TRUE(ask(recommender, {user}, 2)[0].popular);
  EXPECT_TRUE(recommender.recent_users(9).empty());
  for (const std::vector<int64_t>& items : {std::vector<int64_t>{10}, {20, 999, 30}, {}, {10}}) {
    EXPECT_EQ(add(recommender, user, items), !items.empty());
    check(recommender, user);
  }
  EXPECT_EQ(history(recommender, user), (Items{1, 2, 0, 3, 1}));
  EXPECT_EQ(recommender.recent_users(9), (std::vector<std::string>{"su"}));
  EXPECT_TRUE(ask(recommender, {user}, 8, false)[0] == toy().answer({1, 2, 3, 1}, {}, 8));
  EXPECT_TRUE(ask(recommender, {user}, 8, false, {{40, 77}})[0] == toy().answer({1, 2, 3, 1}, {4}, 8));
  EXPECT_TRUE(ask(recommender, {user}, 8, true, {{40, 10}})[0] == toy().answer({1, 2, 3, 1}, {1, 2, 3, 4}, 8));
}

TEST_P(Users, ManyAreAnsweredAsOneByOne) {
  Recommender recommender(toy().engine, open(), kCache);
  const std::vector<Id> users = {Id::of("a"), Id::of(1), Id::of("1"), Id::of("new"), Id::of("a")};
  add(recommender, users[0], {10});
  add(recommender, users[1], {20, 30});
  add(recommender, users[2], {80});
  const Integers exclude = {{50}, {}, {}, {20}, {60}};
  const IdRows ids({{}, {40, 50}, {}, {20, 30, 40}, {}});
  const Ids view = ids.ids();
  const uint8_t all[] = {1, 0, 1, 0, 1};
  Only only;
  only.per_row = true;
  only.ids = &view;
  only.all = all;
  only.n_entries = 5;
  const std::vector<Answer> many = ask(recommender, users, 4, true, exclude, only);
  for (size_t b = 0; b < users.size(); ++b) {
    const IdRows row({b == 1 ? std::vector<int64_t>{40, 50} : std::vector<int64_t>{20, 30, 40}});
    const Ids own = row.ids();
    Only one;
    one.ids = &own;
    one.all = &all[b];
    one.n_entries = 1;
    EXPECT_TRUE(many[b] == ask(recommender, {users[b]}, 4, true, {exclude[b]}, one)[0]) << b;
  }
  EXPECT_TRUE(many[3].popular);
  EXPECT_TRUE(ask(recommender, {}, 3).empty());
  std::vector<Id> thousands;
  for (int64_t n = 0; n < 2'500; ++n) thousands.push_back(Id::of(n));
  const std::vector<Answer> answers = ask(recommender, thousands, 1);
  ASSERT_EQ(answers.size(), 2'500u);
  EXPECT_TRUE(answers[1] == ask(recommender, {Id::of(1)}, 1)[0]);
  EXPECT_FALSE(answers[1].popular);
}

// Two that share a store, as two processes would: what one caches, the other changes.
TEST_P(Users, AnyOrderOfCallsEqualsTheHistories) {
  for (int seed = 0; seed < 12; ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    const auto store = open();
    const int64_t cache_bytes = std::array<int64_t, 4>{0, 300, 700, kCache}[static_cast<size_t>(seed % 4)];
    Recommender one(toy().engine, store, cache_bytes), other(toy().engine, store, cache_bytes);
    const std::vector<Id> users = {Id::of("a"), Id::of("b"), Id::of("c")};
    std::map<size_t, Items> model;
    for (const Id& user : users) one.forget(user);
    for (int turn = 0; turn < 60; ++turn) {
      Recommender& asked = random() % 3 ? one : other;
      const size_t user = random() % users.size();
      switch (random() % 6) {
        case 0:
        case 1: {
          std::vector<int64_t> items(random() % 4);
          for (int64_t& item : items) {
            const auto index = static_cast<int32_t>(random() % 4);
            item = index == 0 ? 999 : 10 * index;
            model[user].push_back(index);
          }
          add(asked, users[user], items);
          break;
        }
        case 2:
          if (random() % 3 == 0) {
            asked.forget(users[user]);
            model[user].clear();
          }
          break;
        case 3:
          EXPECT_EQ(ask(asked, users, 3, random() % 2 == 0).size(), 3u);
          break;
        default:
          EXPECT_EQ(history(asked, users[user]), model[user]);
          check(asked, users[user]);
      }
    }
    for (Recommender* asked : {&one, &other}) {
      for (size_t user = 0; user < users.size(); ++user) {
        check(*asked, users[user]);
        const Items items = known(model[user]);
        if (!items.empty()) {
          EXPECT_TRUE(ask(*asked, {users[user]}, 8, false)[0] == toy().answer(items, {}, 8));
        }
      }
    }
    store->close();
  }
}

TEST_P(Users, StatesEqualTheStoredHistoryUnderContention) {
  Recommender recommender(toy().engine, open(), kCache);
  const std::vector<Id> users = {Id::of("u"), Id::of("v")};
  std::vector<std::thread> threads;
  for (int64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(static_cast<unsigned>(seed));
      for (int64_t j = 0; j < 40; ++j) {
        const Id& user = users[random() % 2];
        const std::string shared = "of all " + std::to_string(j);
        add_ids(recommender, user, ids_of({10 * (1 + static_cast<int64_t>(random() % kItems))}));
        add_ids(recommender, user, ids_of({10}), Id::of(shared));
        ask(recommender, users, 3, j % 2 == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  size_t n = 0;
  for (const Id& user : users) {
    const Items items = history(recommender, user);
    n += items.size();
    EXPECT_TRUE(ask(recommender, {user}, 8, false)[0] == toy().answer(items, {}, 8));
  }
  EXPECT_GE(n, 4u * 40 + 40);
  EXPECT_LE(n, 4u * 40 + 80);
}

TEST_P(Users, ForgettingLeavesNothingEvenUnderWay) {
  Recommender recommender(toy().engine, open(), kCache);
  const Id user = Id::of("u");
  std::atomic<bool> ended{false};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      while (!ended) ask(recommender, {user, Id::of("v")}, 2);
    });
  }
  for (int j = 0; j < 40; ++j) {
    add_ids(recommender, user, ids_of({10}), Id::of("once"));
    if (j % 2) ask(recommender, {user}, 2);
    EXPECT_TRUE(recommender.forget(user));
    EXPECT_FALSE(recommender.forget(user));
  }
  ended = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(history(recommender, user).empty());
  EXPECT_TRUE(recommender.recent_users(9).empty());
  EXPECT_TRUE(ask(recommender, {user}, 2)[0].popular);
}

TEST_P(Users, MaxHistory) {
  for (const int64_t cache_bytes : {int64_t{0}, kCache}) {
    const auto store = open(3);
    Recommender recommender(toy().engine, store, cache_bytes);
    const Id user = Id::of("u"), other = Id::of("v");
    recommender.forget(user);
    recommender.forget(other);
    Items fed;
    for (int32_t item = 1; item <= 7; ++item) {
      add(recommender, user, {10 * item});
      fed.push_back(item);
      const Items kept = history(recommender, user);
      EXPECT_EQ(kept, Items(fed.end() - std::min<int64_t>(3, static_cast<int64_t>(fed.size())), fed.end()));
      // A cached state knows of all that it was fed; what is trimmed is not left out any more.
      EXPECT_TRUE(ask(recommender, {user})[0] == toy().answer(cache_bytes == 0 ? kept : fed, kept, 5));
    }
    // Once the event that the state ends with is trimmed, the state is made anew from what is kept.
    for (const int64_t item : {90, 999, 20}) add(recommender, user, {item});
    EXPECT_TRUE(ask(recommender, {user})[0] == toy().answer({9, 2}, {9, 2}, 5));
    add(recommender, other, {10, 20, 30, 40, 50});
    EXPECT_EQ(history(recommender, other), (Items{3, 4, 5}));
    check(recommender, other);
    store->close();
  }
}

// What a store is asked for, and gives.
class Counting : public MemoryStore {
 public:
  using MemoryStore::MemoryStore;
  void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) override {
    MemoryStore::read(users, places, n, logs);
    for (int64_t b = 0; b < n; ++b) n_read += logs[b].events.size();
  }
  std::atomic<size_t> n_read{0};
};

TEST(Recommender, OnlyWhatIsNewIsRead) {
  for (const std::optional<int64_t> max_history : {std::optional<int64_t>(), std::optional<int64_t>(50)}) {
    const auto store = std::make_shared<Counting>(max_history);
    Recommender one(toy().engine, store, kCache), other(toy().engine, store, kCache);
    const Id user = Id::of("u");
    for (int64_t j = 0; j < 300; ++j) add(one, user, {10 * (1 + j % kItems)});
    check(one, user);
    store->n_read = 0;
    for (int64_t j = 0; j < 20; ++j) {
      add(one, user, {10 * (1 + j % kItems)});
      ask(one, {user});
    }
    EXPECT_EQ(store->n_read, 0u);  // what it has added itself it knows
    add(other, user, {20});
    add(other, user, {30});
    ask(one, {user});
    EXPECT_EQ(store->n_read, 2u);
    if (!max_history) check(one, user);
  }
}

TEST(Recommender, SwapUnderLoadMixesNoModels) {
  const Toy negated(false, -1);
  Recommender recommender(toy().engine, std::make_shared<MemoryStore>(std::nullopt), kCache);
  std::vector<Id> users;
  for (int64_t n = 0; n < 20; ++n) {
    users.push_back(Id::of(n));
    add(recommender, users.back(), {10, 20});
  }
  std::atomic<bool> ended{false};
  std::atomic<int64_t> n_answers{0};
  std::vector<std::thread> threads;
  for (int seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(static_cast<unsigned>(seed));
      while (!ended) {
        const Id user = users[random() % 10];
        EXPECT_TRUE(ask(recommender, {user, user}, 8, false)[0] == toy().answer({1, 2}, {}, 8));
        add(recommender, users[10 + random() % 10], {30});
        check(recommender, users[random() % 10]);
        ++n_answers;
      }
    });
  }
  for (int64_t turn = 0; turn < 20; ++turn) {
    recommender.swap(turn % 2 ? toy().engine : negated.engine, turn, false);
    for (const int64_t before = n_answers; n_answers == before;) std::this_thread::yield();
  }
  ended = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(recommender.engine(), toy().engine);
  for (const Id& user : users) check(recommender, user);
}

TEST(Recommender, SwapRebuildsTheLatestUsersAndKeepsTheOldModelOnFailure) {
  const Toy other(false, -1), strings(true);
  Recommender recommender(toy().engine, std::make_shared<MemoryStore>(std::nullopt), kCache);
  std::vector<Id> users;
  for (int64_t n = 0; n < 10; ++n) {
    users.push_back(Id::of(n));
    add(recommender, users.back(), {10});
  }
  ask(recommender, users, 1);
  const auto failing = toy().make([](const ArrayRun&) { refuse(Code::kBackend, "out of luck"); });
  EXPECT_THROW(recommender.swap(failing, 4, false), Error);
  EXPECT_EQ(recommender.engine(), toy().engine);
  EXPECT_EQ(recommender.recent_users(99).size(), 10u);
  try {
    recommender.swap(strings.engine, 4, false);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    EXPECT_EQ(std::string(error.what()), "the item ids of " + strings.bundle->path() +
                                             " are strings, those of the model in place integers: train it with ids of "
                                             "one type, or swap with allow_id_type_change=True");
  }
  recommender.swap(other.engine, 4, false);
  EXPECT_EQ(recommender.engine(), other.engine);
  EXPECT_EQ(recommender.recent_users(10), (std::vector<std::string>{"i9", "i8", "i7", "i6"}));
  recommender.swap(strings.engine, 1, true);
  EXPECT_EQ(recommender.recent_users(10), (std::vector<std::string>{"i9"}));
  const std::string item = "item-2";
  add_ids(recommender, users[0], {Id::of(item)});
  EXPECT_TRUE(ask(recommender, {users[0]}, 5, false)[0] == strings.answer({2}, {}, 5));
}

TEST(Recommender, MetricsTellWhatTheCacheWasGoodFor) {
  const Toy other(false, -1);
  const auto store = std::make_shared<MemoryStore>(std::nullopt);
  Recommender recommender(toy().engine, store, kCache);
  const Id ann = Id::of("ann"), ben = Id::of("ben"), nobody = Id::of("nobody");
  add(recommender, ann, {10, 20});
  add(recommender, ben, {30});
  const auto counts = [](const Recommender& of) {
    const UserMetrics now = of.metrics();
    return std::array<int64_t, 4>{now.cached_users, now.state_hits, now.state_rebuilds, now.evictions};
  };
  EXPECT_EQ(counts(recommender), (std::array<int64_t, 4>{0, 0, 0, 0}));
  EXPECT_EQ(recommender.metrics().cached_bytes, 0);
  ask(recommender, {ann, ben, nobody});
  EXPECT_EQ(counts(recommender), (std::array<int64_t, 4>{2, 0, 2, 0}));
  EXPECT_GT(recommender.metrics().cached_bytes, 0);
  add(recommender, ann, {40});
  ask(recommender, {ann});
  ask(recommender, {ann, ben});
  EXPECT_EQ(counts(recommender), (std::array<int64_t, 4>{2, 3, 2, 0}));
  recommender.swap(other.engine, 1, false);  // with the state of ben, who was used last
  EXPECT_EQ(counts(recommender), (std::array<int64_t, 4>{1, 3, 3, 0}));

  Recommender small(toy().engine, store, recommender.metrics().cached_bytes + 64);  // room for one user
  ask(small, {ann});
  ask(small, {ben});
  ask(small, {ann});
  EXPECT_EQ(counts(small), (std::array<int64_t, 4>{1, 0, 3, 2}));
  small.swap(other.engine, 0, false);
  EXPECT_EQ(counts(small), (std::array<int64_t, 4>{0, 0, 3, 2}));
}

std::string& warnings() {
  static std::string warnings;
  return warnings;
}

class Logged : public testing::Test {
 protected:
  void SetUp() override {
    warnings().clear();
    set_logger([](void*, int, const char* message) { warnings() += std::string(message) + "\n"; }, nullptr);
  }
  void TearDown() override { set_logger(nullptr, nullptr); }
};

TEST_F(Logged, StoredIdsThatTheModelCannotKnowAreSkippedWithAWord) {
  Recommender recommender(toy().engine, std::make_shared<MemoryStore>(std::nullopt), kCache);
  const std::vector<Id> users = {Id::of("u"), Id::of("v"), Id::of("w")};
  add_ids(recommender, users[0], {Id::of(10), Id::of("A-1"), Id{IdType::kInteger, 0, "9223372036854775808"}});
  add_ids(recommender, users[1], {Id::of("A-1"), Id::of("B-2")});
  add_ids(recommender, users[2], {Id::of("20")});
  for (int turn = 0; turn < 2; ++turn) {
    const std::vector<Answer> answers = ask(recommender, users);
    EXPECT_TRUE(answers[0] == toy().answer({1}, {1}, 5));
    EXPECT_TRUE(answers[1].popular);
    EXPECT_TRUE(answers[2] == toy().answer({2}, {2}, 5));
  }
  add_ids(recommender, users[0], {Id::of("C-3")});  // alone in what is new
  EXPECT_TRUE(ask(recommender, {users[0]}, 5, false)[0] == toy().answer({1}, {}, 5));
  EXPECT_EQ(
      warnings(),
      "histories hold item ids that are text, which the model in place cannot know, as its ids are integers: they "
      "are skipped; is it the model of these histories?\n");
}

TEST(Recommender, AnEngineThatFailsHarmsNothing) {
  bool fails = false;
  const auto engine = toy().make([&fails](const ArrayRun& run) {
    if (fails) refuse(Code::kBackend, "out of luck");
    run_toy(*toy().bundle, run);
  });
  Recommender recommender(engine, std::make_shared<MemoryStore>(std::nullopt), kCache);
  const Id user = Id::of("u");
  for (const int64_t item : {10, 20}) {
    fails = true;
    add(recommender, user, {item});
    const UserMetrics before = recommender.metrics();
    EXPECT_THROW(ask(recommender, {user}), Error);
    EXPECT_EQ(recommender.metrics().state_hits, before.state_hits);
    EXPECT_EQ(recommender.metrics().state_rebuilds, before.state_rebuilds);
    fails = false;
    check(recommender, user);
  }
}

TEST(Recommender, MalformedCallsChangeNothing) {
  Recommender recommender(toy().engine, std::make_shared<MemoryStore>(std::nullopt), kCache);
  const std::string long_id(1025, 'u');
  const auto reason = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(reason([&] { add(recommender, Id::of(long_id), {10}); }), "user has 1,025 characters: give at most 1,024");
  const std::vector<Id> items = ids_of({10});
  EventView events[2];
  events[0] = {Id::of("u"), items.data(), 1, nullptr};
  const Id bad = Id::of("\xff");
  events[1] = {Id::of("u"), &bad, 1, nullptr};
  uint8_t added[2];
  EXPECT_EQ(reason([&] { recommender.add_events(events, 2, added); }),
            "items[0] is '\\udcff', which is no valid Unicode: repair the text");
  EXPECT_EQ(reason([&] { ask(recommender, {Id::of("u")}, 10); }),
            "k is 10, but the catalogue has 9 items: ask for at most those");
  EXPECT_TRUE(history(recommender, Id::of("u")).empty());
}

TEST(Recommender, ClosedAndForked) {
  const auto store = std::make_shared<MemoryStore>(std::nullopt);
  Recommender recommender(toy().engine, store, kCache);
  const pid_t child = fork();
  if (child == 0) {
    try {
      ask(recommender, {Id::of("u")});
    } catch (const Error& error) {
      const bool is_right = std::string(error.what()).find("make the Recommender after the fork") != std::string::npos;
      _exit(error.code() == Code::kFork && is_right ? 7 : 1);
    }
    _exit(2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  recommender.close();
  try {
    ask(recommender, {Id::of("u")});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kClosed);
    EXPECT_STREQ(error.what(), "the Recommender is closed: make a new one");
  }
  EXPECT_TRUE(read(*store, Id::of("u")).events.empty());  // the store stays open
}

#ifdef RECBLR_WITH_REDIS

class UsersInRedis : public Logged {
 protected:
  void SetUp() override {
    if (RedisServer::program() == nullptr) GTEST_SKIP() << "RECBLR_REDIS_SERVER names no redis-server";
    Logged::SetUp();
    server_ = std::make_unique<RedisServer>();
    StoreSettings settings;
    recommender_ = std::make_unique<Recommender>(toy().engine, open_store(server_->address(), settings), kCache);
  }
  std::unique_ptr<RedisServer> server_;
  std::unique_ptr<Recommender> recommender_;
};

TEST_F(UsersInRedis, AStoreThatLostItsEndRebuildsTheState) {
  const Id user = Id::of("u");
  add(*recommender_, user, {10});
  add(*recommender_, user, {20});
  check(*recommender_, user);
  server_->ask({"RPOP", "recblr:{su}:events"});
  add(*recommender_, user, {30});
  EXPECT_EQ(history(*recommender_, user), (Items{1, 3}));
  check(*recommender_, user);
}

TEST_F(UsersInRedis, WhatIsNoHistoryHarmsItsUserOnly) {
  const std::vector<Id> users = {Id::of("a"), Id::of("bad"), Id::of("c"), Id::of("worse")};
  for (const Id& user : users) add(*recommender_, user, {10, 20});
  ask(*recommender_, users);
  server_->ask({"DEL", "recblr:{sbad}:events", "recblr:{sworse}:events"});
  server_->ask({"SET", "recblr:{sbad}:events", "5"});
  server_->ask({"RPUSH", "recblr:{sworse}:events", "1 1 5 0  {\"no\": \"list\"}"});
  const std::vector<Answer> answers = ask(*recommender_, users);
  EXPECT_TRUE(answers[0] == toy().answer({1, 2}, {1, 2}, 5));
  EXPECT_TRUE(answers[1].popular && answers[3].popular);
  EXPECT_TRUE(answers[2] == answers[0]);
  const std::string warning =
      "a user's history cannot be read, and the user is answered as a new one: ask for each of the request's users "
      "alone, to be told which and why\n";
  EXPECT_EQ(warnings(), warning + warning);
  for (const size_t b : {1, 3}) {
    const std::string fault = b == 1 ? "the keys of user 'bad' hold something else than a history (WRONGTYPE "
                                     : "the history of user 'worse' holds an event that is no list of item ids";
    const std::string error = store_error([&] { ask(*recommender_, {users[b]}); });
    EXPECT_EQ(error.find(fault), 0U) << error;
    EXPECT_NE(error.find("forget the user"), std::string::npos);
    EXPECT_NE(store_error([&] { history(*recommender_, users[b]); }).find("forget the user"), std::string::npos);
    EXPECT_TRUE(recommender_->forget(users[b]));
    check(*recommender_, users[b]);
  }
}

#endif

}  // namespace
}  // namespace recblr::tests
