// Users through recblr.h: stores, a store of the caller's, the recommender.
#include <map>

#include "client.h"

namespace recblr::tests {
namespace {

recblr_id id(const std::string& text) { return {RECBLR_STRING_IDS, 0, text.data(), static_cast<int64_t>(text.size())}; }
recblr_id id(int64_t integer) { return {RECBLR_INTEGER_IDS, integer, nullptr, 0}; }

std::string text_of(const recblr_id& id) {
  if (id.type == RECBLR_STRING_IDS) return "'" + std::string(id.text, static_cast<size_t>(id.length)) + "'";
  return id.text == nullptr ? std::to_string(id.integer) : std::string(id.text, static_cast<size_t>(id.length));
}

std::string text_of(const recblr_id* ids, int64_t n) {
  std::string text;
  for (int64_t j = 0; j < n; ++j) text += text_of(ids[j]) + " ";
  return text;
}

// A store of the caller's, in a map of texts.
struct Histories {
  struct Event {
    int64_t seq, stamp;
    std::vector<int64_t> items;
  };
  std::map<std::string, std::vector<Event>> users;
  std::vector<int64_t> asked_since;
  bool fails = false, is_closed = false;
  int released = 0;

  recblr_status failure() const { return recblr_set_error(RECBLR_STORE_FAILED, "out of luck; nothing was done"); }

  static recblr_status append(void* context, const recblr_event* events, int64_t n, uint8_t* added) {
    auto& self = *static_cast<Histories*>(context);
    if (self.fails) return self.failure();
    for (int64_t j = 0; j < n; ++j) {
      auto& log = self.users[text_of(events[j].user)];
      Event event{static_cast<int64_t>(log.size()) + 1, 100 + j, {}};
      for (int64_t i = 0; i < events[j].n_items; ++i) event.items.push_back(events[j].items[i].integer);
      log.push_back(event);
      added[j] = 1;
    }
    return RECBLR_OK;
  }
  static recblr_status read(void* context, const recblr_id* users, const int64_t* since, int64_t n,
                            recblr_events* events) {
    auto& self = *static_cast<Histories*>(context);
    if (self.fails) return self.failure();
    for (int64_t b = 0; b < n; ++b) {
      self.asked_since.push_back(since[b]);
      for (const Event& event : self.users[text_of(users[b])]) {
        if (event.seq < since[b]) continue;
        std::vector<recblr_id> items;
        for (const int64_t item : event.items) items.push_back(id(item));
        const recblr_status status =
            recblr_events_add(events, b, event.seq, event.stamp, items.data(), static_cast<int64_t>(items.size()));
        if (status != RECBLR_OK) return status;
      }
    }
    return RECBLR_OK;
  }
  static recblr_status forget(void* context, const recblr_id* user, int32_t* found) {
    auto& self = *static_cast<Histories*>(context);
    *found = self.users.erase(text_of(*user)) > 0;
    return RECBLR_OK;
  }
  static recblr_status close(void* context) {
    static_cast<Histories*>(context)->is_closed = true;
    return RECBLR_OK;
  }
  static void release(void* context) { ++static_cast<Histories*>(context)->released; }
};

class UsersApiTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    ASSERT_OK(recblr_id_list_create(&list_));
    ASSERT_OK(recblr_events_create(&events_));
  }
  void TearDown() override {
    recblr_recommender_free(recommender_);
    recblr_store_free(store_);
    recblr_id_list_free(list_);
    recblr_events_free(events_);
    ApiTest::TearDown();
  }
  // In memory, and in a folder where this build keeps histories in files.
  static std::vector<const char*> stores([[maybe_unused]] const TemporaryFolder& folder) {
#ifdef RECBLR_WITH_SQLITE
    return {"", folder.path().c_str()};
#else
    return {""};
#endif
  }
  void join() { ASSERT_OK(recblr_recommender_create(engine_, store_, nullptr, &recommender_)); }

  bool add(const recblr_id& user, const std::vector<recblr_id>& items, const recblr_id* event_id = nullptr) {
    const recblr_event event{user, items.data(), static_cast<int64_t>(items.size()), event_id};
    uint8_t added = 0;
    EXPECT_OK(recblr_recommender_add_events(recommender_, &event, 1, &added));
    return added != 0;
  }
  std::vector<int64_t> recommend(const recblr_id& user) {
    recblr_request request{};
    request.struct_size = sizeof request;
    request.k = 3;
    request.exclude_seen = 1;
    EXPECT_OK(recblr_recommender_recommend(recommender_, &user, 1, &request, result_));
    return ids(0);
  }
  // The engine's own answer to a history.
  std::vector<int64_t> expected(const std::vector<int64_t>& history) {
    recblr_result* result = result_;
    recblr_result_create(&result_);
    const IdRows rows({history});
    recblr_request request = request_for(rows);
    request.k = 3;
    request.exclude_seen = 1;
    EXPECT_OK(recblr_recommend(engine_, &request, result_));
    const std::vector<int64_t> found = ids(0);
    recblr_result_free(result_);
    result_ = result;
    return found;
  }
  std::string history(const recblr_id& user) {
    EXPECT_OK(recblr_recommender_history(recommender_, &user, list_));
    return text_of(recblr_id_list_ids(list_), recblr_id_list_size(list_));
  }

  recblr_store* store_ = nullptr;
  recblr_recommender* recommender_ = nullptr;
  recblr_id_list* list_ = nullptr;
  recblr_events* events_ = nullptr;
};

TEST_F(UsersApiTest, HistoriesDecide) {
  recblr_store_options options{};
  options.struct_size = sizeof options;
  options.max_history = 3;
  ASSERT_OK(recblr_store_open(nullptr, &options, &store_));
  join();
  const std::string name = "ann", odd("a\0b", 3), big = "9223372036854775808";
  const recblr_id event_id = id(5);
  EXPECT_TRUE(add(id(name), {id(10), id(20)}, &event_id));
  EXPECT_FALSE(add(id(name), {id(10), id(20)}, &event_id));
  EXPECT_FALSE(add(id(name), {}));
  EXPECT_EQ(recommend(id(name)), expected({10, 20}));
  EXPECT_EQ(row(0).unknown, 0);
  EXPECT_TRUE(add(id(name), {{RECBLR_INTEGER_IDS, 0, big.data(), 19}, id(odd)}));
  EXPECT_EQ(history(id(name)), "20 " + big + " '" + odd + "' ");
  EXPECT_TRUE(add(id(7), {id(30)}));
  EXPECT_EQ(recommend(id(7)), expected({30}));
  ASSERT_OK(recblr_recommender_recent_users(recommender_, 9, list_));
  EXPECT_EQ(text_of(recblr_id_list_ids(list_), recblr_id_list_size(list_)), "7 'ann' ");
  int32_t found = 0;
  const recblr_id user = id(name);
  EXPECT_OK(recblr_recommender_forget(recommender_, &user, &found));
  EXPECT_EQ(found, 1);
  EXPECT_EQ(history(user), "");
  EXPECT_OK(recblr_recommender_swap(recommender_, engine_, 1, 0));
  EXPECT_EQ(recommend(id(7)), expected({30}));
  EXPECT_OK(recblr_recommender_close(recommender_));
  expect_error(recblr_recommender_history(recommender_, &user, list_), RECBLR_CLOSED, "the Recommender is closed");
}

TEST_F(UsersApiTest, CachedUsersAreAnsweredNowWhereNothingIsWaitedFor) {
  const std::string name = "ann";
  const recblr_id ann = id(name);
  const auto is_answered_now = [&] {
    recblr_request request{};
    request.struct_size = sizeof request;
    request.k = 3;
    request.exclude_seen = 1;
    int32_t is_answered = -1;
    EXPECT_OK(recblr_recommender_recommend_now(recommender_, &ann, &request, result_, &is_answered));
    EXPECT_EQ(recblr_result_n_rows(result_), is_answered);
    return is_answered == 1;
  };
  const TemporaryFolder folder;
  for (const bool batches : {true, false}) {
    for (const char* where : stores(folder)) {
      recblr_recommender_free(recommender_);
      recblr_store_free(store_);
      recblr_batching batching{};
      batching.struct_size = sizeof batching;
      recblr_engine_options options{};
      options.struct_size = sizeof options;
      options.batching = &batching;
      recblr_engine_free(engine_);
      ASSERT_OK(recblr_engine_create(bundle_, batches ? &options : nullptr, &engine_));
      ASSERT_OK(recblr_store_open(where, nullptr, &store_));
      join();
      add(ann, {id(10), id(20)});
      EXPECT_FALSE(is_answered_now());  // it is not cached
      const std::vector<int64_t> items = recommend(ann);
      const bool can_be = batches && *where == '\0';
      ASSERT_EQ(is_answered_now(), can_be);
      if (can_be) {
        EXPECT_EQ(ids(0), items);
      }
      add(ann, {id(30)});
      ASSERT_EQ(is_answered_now(), can_be);
      if (can_be) {
        EXPECT_EQ(ids(0), recommend(ann));
      }
      add(ann, std::vector<recblr_id>(17, id(40)));
      EXPECT_FALSE(is_answered_now());  // too much is to be fed
    }
  }
  recblr_request hurried{};
  hurried.struct_size = sizeof hurried;
  hurried.timeout = -1;
  int32_t is_answered = 0;
  expect_error(recblr_recommender_recommend_now(recommender_, &ann, &hurried, result_, &is_answered),
               RECBLR_INVALID_ARGUMENT, "timeout is -1.0: give seconds above 0");
  expect_error(recblr_recommender_recommend(recommender_, &ann, 0, &hurried, result_), RECBLR_INVALID_ARGUMENT,
               "timeout is -1.0: give seconds above 0");
}

TEST_F(UsersApiTest, FewEventsAreAddedNowWhereNothingButTheDiskIsWaitedFor) {
  const std::vector<recblr_id> many(501, id(20));
  const recblr_event few[] = {{id(7), many.data(), 2, nullptr}, {id(8), nullptr, 0, nullptr}};
  const recblr_event long_ones[] = {{id(7), many.data(), 501, nullptr}, {id(7), many.data(), 500, nullptr}};
  const TemporaryFolder folder;
  Histories histories;
  std::vector<const char*> places = stores(folder);
  places.push_back("callbacks");
  for (const char* where : places) {
    recblr_recommender_free(recommender_);
    recblr_store_free(store_);
    const bool is_own = std::string(where) != "callbacks";
    recblr_store_callbacks callbacks{sizeof callbacks,  &histories,       Histories::append,  Histories::read,
                                     Histories::forget, Histories::close, Histories::release, 0};
    ASSERT_OK(is_own ? recblr_store_open(where, nullptr, &store_) : recblr_store_create(&callbacks, &store_));
    join();
    uint8_t added[] = {9, 9};
    int32_t is_done = -1;
    EXPECT_OK(recblr_recommender_add_events_now(recommender_, few, 2, added, &is_done));
    EXPECT_EQ(is_done, is_own);
    EXPECT_EQ(history(id(7)), is_own ? "20 20 " : "");
    if (is_own) {
      EXPECT_EQ(added[0] + 10 * added[1], 1);
    }
    EXPECT_EQ(recommend(id(7)), expected(is_own ? std::vector<int64_t>{20, 20} : std::vector<int64_t>{}));
    EXPECT_OK(recblr_recommender_add_events_now(recommender_, long_ones, 2, added, &is_done));
    EXPECT_EQ(is_done, 0);
    EXPECT_EQ(history(id(7)), is_own ? "20 20 " : "");
    EXPECT_OK(recblr_recommender_add_events_now(recommender_, few, 0, nullptr, &is_done));
    EXPECT_EQ(is_done, 1);
    expect_error(recblr_recommender_add_events_now(recommender_, few, 1, added, nullptr), RECBLR_INVALID_ARGUMENT,
                 "is_done is NULL");
  }
  int32_t is_done = -1;
  uint8_t added = 0;
  EXPECT_OK(recblr_recommender_close(recommender_));
  expect_error(recblr_recommender_add_events_now(recommender_, few, 1, &added, &is_done), RECBLR_CLOSED,
               "the Recommender is closed");
  EXPECT_EQ(is_done, 0);
}

TEST_F(UsersApiTest, StoresAreUsedByThemselves) {
  ASSERT_OK(recblr_store_open("", nullptr, &store_));
  const std::string name = "ann";
  const recblr_id items[] = {id(1), id(name)};
  const recblr_event events[] = {
      {id(name), items, 2, nullptr}, {id(1), items, 1, nullptr}, {id(name), items, 1, nullptr}};
  uint8_t added[3] = {};
  EXPECT_OK(recblr_store_append(store_, events, 3, added));
  EXPECT_TRUE(added[0] && added[1] && added[2]);
  const recblr_id users[] = {id(name), id(2), id(1)};
  for (const int64_t since : {0, 1, 2, 9}) {
    const int64_t sinces[] = {since, since, 0};
    EXPECT_OK(recblr_store_read(store_, users, sinces, 3, events_));
    const recblr_stored_event* stored = nullptr;
    int64_t count = 0;
    EXPECT_OK(recblr_events_of(events_, 0, &stored, &count));
    ASSERT_EQ(count, since < 2 ? 2 : since == 2 ? 1 : 0);
    if (count == 2) {
      EXPECT_EQ(text_of(stored[0].items, stored[0].n_items), "1 'ann' ");
      EXPECT_EQ(stored[1].seq, 2);
    }
    EXPECT_OK(recblr_events_of(events_, 1, &stored, &count));
    EXPECT_EQ(count, 0);
    EXPECT_OK(recblr_events_of(events_, 2, &stored, &count));
    EXPECT_EQ(count, 1);
  }
  int32_t found = 0;
  EXPECT_OK(recblr_store_forget(store_, users, &found));
  EXPECT_EQ(found, 1);
  EXPECT_OK(recblr_store_close(store_));
  expect_error(recblr_store_append(store_, events, 3, added), RECBLR_STORE_FAILED,
               "the store is closed: open it again");
}

TEST_F(UsersApiTest, AStoreOfTheCallersIsReadFromWhereTheStateEnds) {
  Histories histories;
  recblr_store_callbacks callbacks{};
  callbacks.struct_size = sizeof callbacks;
  callbacks.context = &histories;
  callbacks.append = Histories::append;
  callbacks.read = Histories::read;
  callbacks.forget = Histories::forget;
  callbacks.close = Histories::close;
  callbacks.release = Histories::release;
  ASSERT_OK(recblr_store_create(&callbacks, &store_));
  join();
  const recblr_id user = id(1);
  add(user, {id(10)});
  EXPECT_EQ(recommend(user), expected({10}));
  add(user, {id(20)});
  EXPECT_EQ(recommend(user), expected({10, 20}));
  EXPECT_EQ(histories.asked_since, (std::vector<int64_t>{0, 1}));
  histories.users["1"][1] = {2, 77, {30}};  // it went on otherwise
  EXPECT_EQ(recommend(user), expected({10, 30}));
  EXPECT_EQ(histories.asked_since, (std::vector<int64_t>{0, 1, 2, 0}));
  histories.users.clear();
  recommend(user);
  EXPECT_EQ(row(0).popular, 1);
  ASSERT_OK(recblr_recommender_recent_users(recommender_, 9, list_));
  EXPECT_EQ(recblr_id_list_size(list_), 0);

  histories.users["1"] = {{1, 7, {10}}, {3, 8, {20}}};
  expect_error(recblr_recommender_history(recommender_, &user, list_), RECBLR_STORE_FAILED,
               "the store gave event 3 of user 1 after event 1: give them in order, without gaps");
  histories.fails = true;
  recblr_request request{};
  request.struct_size = sizeof request;
  expect_error(recblr_recommender_recommend(recommender_, &user, 1, &request, result_), RECBLR_STORE_FAILED,
               "out of luck; nothing was done");
  EXPECT_OK(recblr_store_close(store_));
  EXPECT_TRUE(histories.is_closed);
  recblr_store_free(store_);
  store_ = nullptr;
  EXPECT_EQ(histories.released, 0);  // the recommender has it still
  recblr_recommender_free(recommender_);
  recommender_ = nullptr;
  EXPECT_EQ(histories.released, 1);
}

TEST_F(UsersApiTest, WhatIsNoneIsRefused) {
  expect_error(recblr_store_open("http://host", nullptr, &store_), RECBLR_BAD_CONFIG,
               "store 'http://host' has none of");
  EXPECT_EQ(store_, nullptr);
  recblr_store_callbacks callbacks{};
  callbacks.struct_size = sizeof callbacks;
  expect_error(recblr_store_create(&callbacks, &store_), RECBLR_INVALID_ARGUMENT, "callbacks.append is NULL");
  ASSERT_OK(recblr_store_open(nullptr, nullptr, &store_));
  recblr_recommender_options options{};
  options.struct_size = sizeof options;
  options.cache_bytes = -1;
  expect_error(recblr_recommender_create(engine_, store_, &options, &recommender_), RECBLR_BAD_CONFIG,
               "cache_bytes is -1: give a whole number of bytes");
  expect_error(recblr_recommender_create(engine_, nullptr, nullptr, &recommender_), RECBLR_INVALID_ARGUMENT,
               "store is NULL");
  join();
  recblr_event event{id(1), nullptr, 1, nullptr};
  uint8_t added = 0;
  expect_error(recblr_recommender_add_events(recommender_, &event, 1, &added), RECBLR_INVALID_ARGUMENT,
               "items is NULL");
  constexpr const char* kNegative = "n is -1: give 0 or more";
  recblr_request nothing{};
  nothing.struct_size = sizeof nothing;
  expect_error(recblr_recommender_add_events(recommender_, &event, -1, &added), RECBLR_INVALID_ARGUMENT, kNegative);
  expect_error(recblr_recommender_recommend(recommender_, nullptr, -1, &nothing, result_), RECBLR_INVALID_ARGUMENT,
               kNegative);
  expect_error(recblr_recommender_swap(recommender_, engine_, -1, 0), RECBLR_INVALID_ARGUMENT, "rebuild is -1");
  event.user.type = 7;
  event.n_items = 0;
  expect_error(recblr_recommender_add_events(recommender_, &event, 1, &added), RECBLR_INVALID_ARGUMENT,
               "user.type is 7");
  const recblr_id user{RECBLR_STRING_IDS, 0, nullptr, 3};
  expect_error(recblr_recommender_history(recommender_, &user, list_), RECBLR_INVALID_ARGUMENT,
               "user has no text of 3 bytes");
  const recblr_stored_event* stored = nullptr;
  int64_t count = 0;
  expect_error(recblr_events_of(events_, 0, &stored, &count), RECBLR_INVALID_ARGUMENT, "user is 0 of 0");
}

}  // namespace
}  // namespace recblr::tests
