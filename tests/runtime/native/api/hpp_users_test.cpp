// Users through recblr.hpp: ids, stores, a store of the caller's, the recommender, the logger.
#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "hpp_without_exceptions.h"
#include "recblr/recblr.hpp"
#include "tiny_bundle.h"

namespace recblr::tests {
namespace {

const std::string kBig = "9223372036854775808";

std::vector<Id> ids(const IdList& list) {
  std::vector<Id> ids;
  for (size_t j = 0; j < list.size(); ++j) ids.push_back(list[j]);
  return ids;
}

class HppUsersTest : public ::testing::Test {
 protected:
  HppUsersTest() { write_bundle(TinyBundle{}, folder_.path()); }

  std::vector<int64_t> best(const Recommender& users, const Id& user, const RankOptions& options = {}) {
    users.recommend(user, &result_, options);
    return row(0);
  }
  std::vector<int64_t> row(size_t row) const {
    const Ranking ranking = result_.row(row);
    std::vector<int64_t> ids;
    for (size_t j = 0; j < ranking.size(); ++j) ids.push_back(ranking.integer(j));
    return ids;
  }
  // The engine's own answer to a history.
  std::vector<int64_t> expected(std::initializer_list<int64_t> history) {
    IntegerIds histories;
    histories.add_row(history);
    Engine(Bundle(folder_.path())).recommend(Request(histories), &result_);
    return row(0);
  }

  TemporaryFolder folder_;
  Result result_;
};

TEST(IdTest, TellsIntegersAndStringsApart) {
  const std::string name = "25";
  EXPECT_EQ(Id(0).integer(), 0);
  EXPECT_EQ(Id(uint32_t{4000000000}).integer(), 4000000000);
  EXPECT_FALSE(Id(25).is_string());
  EXPECT_TRUE(Id(name).is_string());
  EXPECT_EQ(Id(std::string_view("a\0b", 3)).text().size(), 3U);
  EXPECT_EQ(Id("25"), Id(name));
  EXPECT_NE(Id(25), Id("25"));
  EXPECT_NE(Id(25), Id(26));
  EXPECT_TRUE(Id::big_integer(kBig).is_big_integer());
  EXPECT_FALSE(Id(25).is_big_integer());
  EXPECT_NE(Id::big_integer(kBig), Id(kBig));
  EXPECT_TRUE(Id(std::string_view()).is_string());
  EXPECT_FALSE((std::is_constructible_v<Id, uint64_t>));
  EXPECT_FALSE((std::is_constructible_v<Id, bool>));
  EXPECT_FALSE((std::is_constructible_v<Id, double>));
}

TEST_F(HppUsersTest, HistoriesDecide) {
  StoreOptions options;
  options.max_history = 3;
  const Recommender users = Recommender::open(folder_.path(), "", options);
  EXPECT_TRUE(users.add_events("ann", {10, 20}, 5));
  EXPECT_FALSE(users.add_events("ann", {10, 20}, 5));
  EXPECT_FALSE(users.add_events("ann", {}));
  EXPECT_EQ(users.add_events_now({{"ann", {10, 20}, 5}}), std::vector<bool>{false});
  EXPECT_EQ(users.add_events_now({{"eve", std::vector<Id>(1001, 10)}}), std::nullopt);
  EXPECT_EQ(best(users, "ann"), expected({10, 20}));
  RankOptions one;
  one.k = 1;
  one.exclude_seen = false;
  IntegerIds only;
  only.add_row({10});
  one.only_ids = only;
  EXPECT_EQ(best(users, "ann", one), (std::vector<int64_t>{10}));
  EXPECT_TRUE(users.add_events("ann", {Id::big_integer(kBig), "odd"}));
  EXPECT_EQ(ids(users.history("ann")), (std::vector<Id>{20, Id::big_integer(kBig), "odd"}));
  const std::vector<Event> events = {{7, {0, 30}, "first"}, {7, {40}}, {7, {0, 30}, "first"}};
  EXPECT_EQ(users.add_events_many(events), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(ids(users.history(7)), (std::vector<Id>{0, 30, 40}));
  users.recommend_many({7, "new"}, &result_);
  ASSERT_EQ(result_.n_rows(), 2U);
  EXPECT_FALSE(result_.row(0).popular());
  EXPECT_TRUE(result_.row(1).popular());
  EXPECT_EQ(row(0), expected({30, 40}));
  EXPECT_EQ(ids(users.recent_users(9)), (std::vector<Id>{7, "ann"}));
  EXPECT_EQ(users.recent_users(1).size(), 1U);
  EXPECT_TRUE(users.forget("ann"));
  EXPECT_FALSE(users.forget("ann"));
  EXPECT_TRUE(users.history("ann").empty());
  EXPECT_EQ(users.metrics().cached_users, 1);
  EXPECT_GT(users.metrics().state_rebuilds, 0);
  users.swap(Engine(Bundle(folder_.path())), 1);
  EXPECT_EQ(ids(users.recent_users(9)), (std::vector<Id>{7}));
  EXPECT_EQ(best(users, 7), expected({30, 40}));
}

TEST_F(HppUsersTest, StoresAreUsedByThemselvesAndShared) {
  std::vector<std::string> places = {""};
  const TemporaryFolder folder;
#ifdef RECBLR_WITH_SQLITE
  places.push_back(folder.path() + "/histories");
#endif
  for (const std::string& place : places) {
    SCOPED_TRACE(place);
    const Store store(place);
    const std::vector<Event> events = {{"ann", {10, "x"}}, {"ann", {20}}, {1, {30}, 9}};
    EXPECT_EQ(store.append(events), (std::vector<bool>{true, true, true}));
    EXPECT_EQ(store.append({{1, {30}, 9}}), (std::vector<bool>{false}));
    const StoredEvents read = store.read({"ann", "nobody", 1}, {2, 0, 0});
    ASSERT_EQ(read.of(0).size(), 1U);
    EXPECT_EQ(read.of(0)[0].seq, 2);
    EXPECT_EQ(Id(read.of(0)[0].items[0]), Id(20));
    EXPECT_TRUE(read.of(1).empty());
    EXPECT_EQ(read.of(2).size(), 1U);
    EXPECT_EQ(read.try_of(3).error().status, Status::kInvalidArgument);
    EXPECT_EQ(store.read({"ann"}).of(0).size(), 2U);
    const Engine engine{Bundle(folder_.path())};
    RecommenderOptions options;
    options.cache_bytes = 0;
    const Recommender users(engine, store, options);
    EXPECT_EQ(best(users, 1), expected({30}));
    EXPECT_TRUE(users.recent_users(9).empty());
    users.close();
    EXPECT_TRUE(store.forget("ann"));
    store.close();
    EXPECT_EQ(store.try_append(events).error().status, Status::kStoreFailed);
  }
#ifdef RECBLR_WITH_SQLITE
  EXPECT_EQ(ids(Recommender::open(folder_.path(), places[1]).history(1)), (std::vector<Id>{30}));
#endif
}

TEST_F(HppUsersTest, ErrorsAreExceptionsOrValues) {
  EXPECT_THROW(Store("http://host"), Error);
  EXPECT_EQ(Store::try_open("http://host").error().status, Status::kBadConfig);
  EXPECT_EQ(Recommender::try_open(folder_.path() + "/none").error().status, Status::kBadBundle);
  EXPECT_EQ(Recommender::try_open(folder_.path(), "http://host").error().status, Status::kBadConfig);
  const Engine engine{Bundle(folder_.path())};
  const Store store;
  RecommenderOptions options;
  options.cache_bytes = -1;
  EXPECT_EQ(Recommender::try_create(engine, store, options).error().message,
            "cache_bytes is -1: give a whole number of bytes, 0 for no cache");
  EXPECT_EQ(store.try_read({1, 2}, {0}).error().message, "since has 1 numbers for 2 users");
  EXPECT_EQ(Store::try_create(nullptr).error().status, Status::kInvalidArgument);
  const Recommender users(engine, store);
  EXPECT_EQ(users.try_add_events_many({{1, {10}}, {1, {Id::big_integer("no number")}}}).error().status,
            Status::kInvalidArgument);
  EXPECT_TRUE(users.history(1).empty());
  RankOptions many;
  many.k = 7;
  try {
    users.recommend(1, &result_, many);
    FAIL() << "it did not throw";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "k is 7, but the catalogue has 6 items: ask for at most those");
  }
  TinyBundle strings;
  strings.has_string_ids = true;
  const TemporaryFolder folder;
  write_bundle(strings, folder.path());
  const Engine other{Bundle(folder.path())};
  EXPECT_EQ(users.try_swap(other).error().status, Status::kBadConfig);
  users.swap(other, 0, true);
  users.recommend(1, &result_);
  EXPECT_TRUE(result_.row(0).has_string_ids());
  users.close();
  EXPECT_EQ(users.try_history(1).error().status, Status::kClosed);
  EXPECT_THROW(users.forget(1), Error);
}

// A store in the caller's code, which fails in each way it can.
class Failing : public CustomStore {
 public:
  Expected<void> append(Span<const recblr_event>, Span<uint8_t>) override {
    throw std::runtime_error("the disk is full; nothing was stored");
  }
  Expected<void> read(Span<const recblr_id>, Span<const int64_t>, recblr_events*) override { throw 3; }
  Expected<bool> forget(const Id& user) override {
    if (user == Id("ann")) return true;
    throw Error({Status::kOutOfMemory, "no memory for it"});
  }
  Expected<void> close() override { return Failure{Status::kUnsupported, "it stays open"}; }
};

TEST_F(HppUsersTest, AStoreOfTheCallersMayThrow) {
  const auto custom = std::make_shared<Failing>();
  {
    const Recommender users(Engine(Bundle(folder_.path())), Store(custom));
    EXPECT_EQ(custom.use_count(), 2);  // the recommender has the store
    const Failure failure = users.try_add_events(1, {10}).error();
    EXPECT_EQ(failure.status, Status::kStoreFailed);
    EXPECT_EQ(failure.message, "the disk is full; nothing was stored");
    EXPECT_EQ(users.try_history(1).error().message, "the store threw what is no std::exception");
    EXPECT_TRUE(users.forget("ann"));
    EXPECT_EQ(users.try_forget(1).error().status, Status::kOutOfMemory);
    EXPECT_EQ(Store(custom).try_close().error().message, "it stays open");
  }
  EXPECT_EQ(custom.use_count(), 1);
}

TEST_F(HppUsersTest, WorksWithoutExceptions) {
  const auto best = [&](const std::string& user, int64_t k) {
    return best_of_user_without_exceptions(folder_.path(), user, 20, k);
  };
  EXPECT_EQ(best("ann", 3), best_without_exceptions(folder_.path(), 20, 3));
  EXPECT_EQ(best("ann", 7), "k is 7, but the catalogue has 6 items: ask for at most those");
  EXPECT_EQ(best("fail", 3), "out of luck; nothing was done");
}

TEST_F(HppUsersTest, TheLoggerIsTold) {
  const auto told = std::make_shared<std::vector<std::pair<LogLevel, std::string>>>();
  set_logger([told](LogLevel level, std::string_view message) { told->emplace_back(level, message); });
  const auto recommend = [&] {
    const Recommender users = Recommender::open(folder_.path());
    users.add_events(1, {10, "no number"});
    return best(users, 1);
  };
  EXPECT_EQ(recommend(), expected({10}));
  ASSERT_EQ(told->size(), 1U);
  EXPECT_EQ((*told)[0].first, LogLevel::kWarning);
  EXPECT_EQ((*told)[0].second.find("histories hold item ids that are text"), 0U) << (*told)[0].second;
  set_logger({});
  EXPECT_EQ(told.use_count(), 1);
  recommend();
  EXPECT_EQ(told->size(), 1U);
}

}  // namespace
}  // namespace recblr::tests
