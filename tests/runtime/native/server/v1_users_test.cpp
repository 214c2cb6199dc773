// /v1/users: events, recommendations, histories, and what is refused.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bundle/toy_bundle.h"
#include "server/jam.h"
#include "server/v1_fixture.h"

namespace recblr::server {
namespace {

class UsersTest : public V1Test {
 protected:
  Json add(const std::string& user, std::string body, const std::string& query = "") {
    return answer(Method::kPost, "/v1/users/" + user + "/events" + query, std::move(body)).at("added");
  }
  Json items(const std::string& user) { return answer(Method::kGet, "/v1/users/" + user).at("items"); }
  std::string refused(const std::string& target, const std::string& body = "") {
    return refusal(400, body.empty() ? Method::kGet : Method::kPost, "/v1/users/" + target, body);
  }
};

TEST_F(UsersTest, EventsAreKeptOnce) {
  EXPECT_EQ(add("ann", R"({"items": [10, 20]})"), true);
  EXPECT_EQ(add("ann", R"({"items": [30], "event_id": "a"})"), true);
  EXPECT_EQ(add("ann", R"({"items": [30], "event_id": "a"})"), false);
  EXPECT_EQ(add("ann", R"({"items": [40], "event_id": null})"), true);
  EXPECT_EQ(add("ann", R"({"items": []})"), false);
  EXPECT_EQ(
      add("ann", R"({"events": [{"items": [50], "event_id": 7}, {"items": [50], "event_id": 7}, {"items": [60]}]})"),
      Json::parse("[true, false, true]"));
  EXPECT_EQ(add("ann", R"({"events": []})"), Json::array());
  EXPECT_EQ(items("ann"), Json::parse("[10, 20, 30, 40, 50, 60]"));
  EXPECT_EQ(answer(Method::kGet, "/v1/users/ann").at("user"), "ann");
}

TEST_F(UsersTest, RecommendationsAreThoseOfTheHistory) {
  add("ann", R"({"items": [10, 20, 99]})");
  const auto asked = [&](const std::string& query, const std::string& fields) {
    const Json given = answer(Method::kGet, "/v1/users/ann/recommendations" + query);
    Json expected = answer(Method::kPost, "/v1/recommend", "{\"histories\": [[10, 20, 99]]" + fields + "}");
    EXPECT_EQ(given.at("model"), expected.at("model"));
    expected = expected.at("rankings")[0];
    EXPECT_EQ(given.at("items"), expected.at("items")) << query;
    EXPECT_EQ(given.at("popular"), false);
    EXPECT_EQ(given.at("scores").size(), expected.at("scores").size());
  };
  asked("", "");
  asked("?k=2", R"(, "k": 2)");
  asked("?exclude_seen=false&k=6", R"(, "k": 6, "exclude_seen": false)");
  asked("?exclude=30&exclude=40", R"(, "exclude": [[30, 40]])");
  asked("?only=30&only=5%30&only=10&", R"(, "only": [30, 50, 10])");
  const Json nobody = answer(Method::kGet, "/v1/users/bob/recommendations?k=1");
  EXPECT_EQ(nobody.at("popular"), true);
}

TEST_F(UsersTest, IntegersAndStringsAreOtherUsersAndItems) {
  add("25", R"({"items": [10]})");
  add("25", R"({"items": ["10", 18446744073709551616]})", "?integer=true");
  EXPECT_EQ(items("25"), Json::parse("[10]"));
  const Reply reply = ask(Method::kGet, "/v1/users/25?integer=true");
  EXPECT_EQ(reply.body, R"({"user":25,"items":["10",18446744073709551616]})");
  EXPECT_EQ(answer(Method::kDelete, "/v1/users/25").at("found"), true);
  EXPECT_EQ(items("25?integer=true").size(), 2U);
  const std::string large = "18446744073709551616";
  add(large, R"({"items": [20]})", "?integer=true");
  EXPECT_EQ(ask(Method::kGet, "/v1/users/" + large + "?integer=true").body,
            R"({"user":18446744073709551616,"items":[20]})");
}

TEST_F(UsersTest, ForgottenUsersAreGone) {
  add("ann", R"({"items": [10]})");
  EXPECT_EQ(answer(Method::kDelete, "/v1/users/ann").at("found"), true);
  EXPECT_EQ(answer(Method::kDelete, "/v1/users/ann").at("found"), false);
  EXPECT_EQ(items("ann").size(), 0U);
}

TEST_F(UsersTest, BadRequestsSayWhy) {
  EXPECT_EQ(refused("ann?top=1"), "'top' is no parameter of this address: use integer");
  EXPECT_EQ(refused("ann?k=1"), "'k' is no parameter of this address: use integer");
  EXPECT_EQ(refused("ann/recommendations?top=1"),
            "'top' is no parameter of this address: use k, exclude_seen, exclude, only, integer");
  EXPECT_EQ(refused("ann/recommendations?k=1&k=2"), "k is there twice: give it once");
  EXPECT_EQ(refused("ann/recommendations?k=x"), "k is 'x': give a whole number");
  EXPECT_EQ(refused("ann/recommendations?k="), "k is '': give a whole number");
  EXPECT_EQ(refused("ann/recommendations?k=0"), "k is 0: give a whole number from 1 to 6");
  EXPECT_EQ(refused("ann/recommendations?k=7"), "k is 7, but the catalogue has 6 items: ask for at most those");
  EXPECT_EQ(refused("ann/recommendations?exclude_seen=1"), "exclude_seen is '1': give true or false");
  EXPECT_EQ(refused("ann/recommendations?only=A-1").substr(0, 28), "only: item id 'A-1' is of ty");
  EXPECT_EQ(refused("ann/recommendations?exclude=10&exclude=1,127"),
            "exclude is '1,127': give the parameter once for each id, such as exclude=1&exclude=2");
  EXPECT_EQ(refused("ann/recommendations?only=1%2c127"),
            "only is '1,127': give the parameter once for each id, such as only=1&only=2");
  EXPECT_EQ(refused("ann?integer=%ff"), "the query's part is 'integer=%ff': give UTF-8, percent-encoded");
  EXPECT_EQ(refused("x?integer=true").substr(0, 26), "user is the integer 'x': g");
  EXPECT_EQ(refused("025?integer=true").substr(0, 28), "user is the integer '025': g");
  EXPECT_EQ(refused("ann/events", "{}"), "items is missing: give a list of item ids, or events");
  EXPECT_EQ(refused("ann/events", R"({"event_id": 1})"), "items is missing: give a list of item ids, or events");
  EXPECT_EQ(refused("ann/events", R"({"items": 1})"), "items is 1: give a list of item ids");
  EXPECT_EQ(refused("ann/events", R"({"items": [], "events": []})"),
            "items and event_id are beside events: give either one event's or the list");
  EXPECT_EQ(refused("ann/events", R"({"events": [{"items": [true]}]})"),
            "events[0].items[0] is true: item ids are integers or strings");
  EXPECT_EQ(items("ann").size(), 0U);
}

TEST_F(UsersTest, LimitsAreNamed) {
  V1Options options;
  options.limits.max_ids = 3;
  options.limits.max_users = 2;
  add_routes(options);
  EXPECT_EQ(refused("ann/events", R"({"items": [1, 2, 3, 4]})"),
            "the request has 4 item ids, the limit is 3: send fewer at once");
  EXPECT_EQ(refused("ann/events", R"({"events": [{"items": [1]}, {"items": [1]}, {"items": [1]}]})"),
            "the request has 3 events, the limit is 2: send fewer at once");
  EXPECT_NE(refused("ann/recommendations?only=1&only=2&only=3&only=4").find("4 item ids"), std::string::npos);
}

TEST_F(UsersTest, WhileTheModelLoadsThatIsSaid) {
  models_ = std::make_unique<Models>(ModelOptions{});
  add_routes({}, 1, 0);
  EXPECT_EQ(refusal(503, Method::kGet, "/v1/users/ann/recommendations?k=1000000000"),
            "the model is not loaded yet: try again later");
}

TEST_F(UsersTest, WithoutAStoreThereAreNone) {
  serve({}, {}, false);
  for (const auto& [method, target] : {std::pair(Method::kGet, "ann"),
                                       {Method::kDelete, "ann"},
                                       {Method::kGet, "ann/recommendations"},
                                       {Method::kPost, "ann/events"}}) {
    EXPECT_EQ(refusal(404, method, std::string("/v1/users/") + target),
              "this server keeps no histories: start it with --store");
  }
}

TEST_F(UsersTest, AFullPoolRefuses) {
  std::promise<void> jam = jam_pool();
  EXPECT_EQ(refusal(503, Method::kGet, "/v1/users/ann"), "too many requests wait: try again later");
  jam.set_value();
}

TEST_F(UsersTest, TheTimeoutHoldsWhileTheStoreIsWaitedFor) {
  V1Options options;
  options.timeout = 0.02;
  add_routes(options);
  std::vector<std::shared_ptr<FakeExchange>> asked;
  {
    const Jam others(pool_.get(), false);
    asked = {begin(Method::kGet, "/v1/users/ann"), begin(Method::kGet, "/v1/users/ann/recommendations"),
             begin(Method::kDelete, "/v1/users/ann"),
             begin(Method::kPost, "/v1/users/ann/events", R"({"items": [10]})")};
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  for (const auto& exchange : asked) {
    const Reply reply = exchange->wait();
    EXPECT_EQ(reply.status, 504);
    EXPECT_NE(reply.body.find("s for the store, longer than it may"), std::string::npos) << reply.body;
    EXPECT_EQ(exchange->record().reason, "deadline");
  }
  options.timeout = 60;
  add_routes(options);
  EXPECT_EQ(items("ann").size(), 0U);  // of none of them was anything done
  EXPECT_EQ(ask(Method::kGet, "/v1/users/ann/recommendations").status, 200);
}

// Neither disks nor other machines, nor whatever else is under way, are waited for.
TEST_F(UsersTest, CachedUsersAreAnsweredWithoutThePool) {
  add("ann", R"({"items": [10, 20]})");
  const Json first = answer(Method::kGet, "/v1/users/ann/recommendations?exclude=30");
  std::promise<void> jam = jam_pool();
  EXPECT_EQ(answer(Method::kGet, "/v1/users/ann/recommendations?exclude=30"), first);
  refusal(503, Method::kGet, "/v1/users/bob/recommendations");
  EXPECT_EQ(refused("ann/recommendations?k=0"), "k is 0: give a whole number from 1 to 6");
  EXPECT_EQ(refused("ann/recommendations?k=7"), "k is 7, but the catalogue has 6 items: ask for at most those");
  jam.set_value();
}

TEST_F(UsersTest, TheModelThatAnsweredIsNamed) {
  add("ann", R"({"items": [10]})");
  const Json first = answer(Method::kGet, "/v1/users/ann/recommendations");
  tests::TinyBundle tiny;
  tiny.seed = 5;
  const tests::TemporaryFolder other;
  tests::write_bundle(tiny, other.path());
  const std::string manifest = other.path() + "/manifest.json";
  Json content = Json::parse(recblr::testing::read_file(manifest));
  content["fingerprint"] = "sha256:other";
  recblr::testing::write_file(manifest, recblr::testing::manifest_text(content));
  const Json reloaded = answer(Method::kPost, "/v1/model/reload", "{\"path\": \"" + other.path() + "\"}");
  const Json second = answer(Method::kGet, "/v1/users/ann/recommendations");
  EXPECT_EQ(second.at("model"), "sha256:other");
  EXPECT_EQ(second.at("model"), reloaded.at("fingerprint"));
  EXPECT_NE(second.at("model"), first.at("model"));
}

}  // namespace
}  // namespace recblr::server
