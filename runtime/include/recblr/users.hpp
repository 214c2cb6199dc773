// Recommendations for users whose histories are kept; a part of recblr.hpp.
//
//   recblr::Recommender users = recblr::Recommender::open("bundle/", "histories/");
//   users.add_events("ann", {318, 527}, "order-1");
//   users.recommend("ann", &result);
#ifndef RECBLR_USERS_HPP_
#define RECBLR_USERS_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "recblr/bundle.hpp"
#include "recblr/engine.hpp"
#include "recblr/expected.hpp"
#include "recblr/ids.hpp"
#include "recblr/recblr.h"
#include "recblr/request.hpp"
#include "recblr/store.hpp"

namespace recblr {
inline namespace RECBLR_CLIENT {

struct RecommenderOptions {
  std::optional<int64_t> cache_bytes;  // the most that states and seen items take; none: 256 MiB; 0: nothing is cached
};

// An engine, users' histories in a store, and a cache of their states; see recblr_recommender. Any number of threads
// may call it at once, and any number of processes may share the store.
class Recommender {
 public:
  // Joins an engine and a store, which it keeps.
  static Expected<Recommender> try_create(const Engine& engine, const Store& store,
                                          const RecommenderOptions& options = {}) {
    const recblr_recommender_options given = {sizeof given, options.cache_bytes.value_or(0), options.cache_bytes == 0};
    recblr_recommender* recommender = nullptr;
    const recblr_status status = recblr_recommender_create(engine.handle(), store.handle(), &given, &recommender);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Recommender(recommender);
  }
  // Of the bundle in a folder, with an engine that merges the requests of concurrent callers, and of what
  // Store::try_open takes.
  static Expected<Recommender> try_open(const std::string& bundle_path, const std::string& where = "",
                                        const StoreOptions& store_options = {},
                                        const RecommenderOptions& options = {}) {
    const Expected<Bundle> bundle = Bundle::try_open(bundle_path);
    if (!bundle) return bundle.error();
    EngineOptions engine_options;
    engine_options.batching = Batching{};
    const Expected<Engine> engine = Engine::try_create(*bundle, engine_options);
    if (!engine) return engine.error();
    const Expected<Store> store = Store::try_open(where, store_options);
    if (!store) return store.error();
    return try_create(*engine, *store, options);
  }

  // Adds items to a user's history, as one event, durably; whether it was new. No items change nothing.
  Expected<bool> try_add_events(const Id& user, std::vector<Id> items,
                                std::optional<Id> event_id = std::nullopt) const {
    const Expected<std::vector<bool>> added = try_add_events_many({Event{user, std::move(items), event_id}});
    if (!added) return added.error();
    return static_cast<bool>((*added)[0]);
  }
  // In order, in one transaction or round trip; which of them were new. If one is malformed, none is added.
  Expected<std::vector<bool>> try_add_events_many(const std::vector<Event>& events) const {
    detail::CEvents given(events);
    return given.answer(recblr_recommender_add_events(handle(), given.events(), given.size(), given.added()));
  }
  // The same where nothing but the disk is to be waited for, and the events are few; nothing where it is not so, and
  // none was added. See recblr_recommender_add_events_now.
  Expected<std::optional<std::vector<bool>>> try_add_events_now(const std::vector<Event>& events) const {
    detail::CEvents given(events);
    int32_t is_done = 0;
    const recblr_status status =
        recblr_recommender_add_events_now(handle(), given.events(), given.size(), given.added(), &is_done);
    if (status == RECBLR_OK && is_done == 0) return std::optional<std::vector<bool>>();
    const Expected<std::vector<bool>> added = given.answer(status);
    if (!added) return added.error();
    return std::optional(*added);
  }
  // The best next items for a user; `unknown` of the ranking is 0. Rows of `options` are one, or none.
  Expected<void> try_recommend(const Id& user, Result* result, const RankOptions& options = {}) const {
    const detail::CRequest given(options);
    return detail::expected(recblr_recommender_recommend(handle(), &user.c(), 1, given.get(), result->handle()));
  }
  // The same where that needs no waiting and takes about as long as the ranking itself; whether it is answered. See
  // recblr_recommender_recommend_now.
  Expected<bool> try_recommend_now(const Id& user, Result* result, const RankOptions& options = {}) const {
    const detail::CRequest given(options);
    int32_t is_answered = 0;
    const recblr_status status =
        recblr_recommender_recommend_now(handle(), &user.c(), given.get(), result->handle(), &is_answered);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return is_answered != 0;
  }
  // For many in few runs, all of one model: a row of the result for each.
  Expected<void> try_recommend_many(const std::vector<Id>& users, Result* result,
                                    const RankOptions& options = {}) const {
    const detail::CRequest given(options);
    const std::vector<recblr_id> ids = detail::c_ids(users);
    return detail::expected(recblr_recommender_recommend(handle(), ids.data(), static_cast<int64_t>(ids.size()),
                                                         given.get(), result->handle()));
  }
  // The user's items as stored, in order; the latest max_history.
  Expected<IdList> try_history(const Id& user) const {
    return filled([&](recblr_id_list* items) { return recblr_recommender_history(handle(), &user.c(), items); });
  }
  // Removes all of a user: history, event ids, state. Whether the store held anything.
  Expected<bool> try_forget(const Id& user) const {
    int32_t found = 0;
    const recblr_status status = recblr_recommender_forget(handle(), &user.c(), &found);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return found != 0;
  }
  // At most n users who have a state in the cache, the latest used first.
  Expected<IdList> try_recent_users(int64_t n) const {
    return filled([&](recblr_id_list* users) { return recblr_recommender_recent_users(handle(), n, users); });
  }
  Expected<recblr_user_metrics> try_metrics() const {
    recblr_user_metrics metrics{};
    metrics.struct_size = sizeof metrics;
    const recblr_status status = recblr_recommender_metrics(handle(), &metrics);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return metrics;
  }
  // Puts another model in place, while the old one keeps answering, and the `rebuild` users asked for latest get
  // states of it. If anything fails, the old model stays.
  Expected<void> try_swap(const Engine& engine, int64_t rebuild = 0, bool allow_id_type_change = false) const {
    return detail::expected(recblr_recommender_swap(handle(), engine.handle(), rebuild, allow_id_type_change));
  }
  // Ends its use; calls under way still finish, engine and store stay open.
  Expected<void> try_close() const { return detail::expected(recblr_recommender_close(handle())); }
#if defined(__cpp_exceptions)
  Recommender(const Engine& engine, const Store& store, const RecommenderOptions& options = {})
      : Recommender(detail::value_or_throw(try_create(engine, store, options))) {}
  static Recommender open(const std::string& bundle_path, const std::string& where = "",
                          const StoreOptions& store_options = {}, const RecommenderOptions& options = {}) {
    return detail::value_or_throw(try_open(bundle_path, where, store_options, options));
  }
  bool add_events(const Id& user, std::vector<Id> items, std::optional<Id> event_id = std::nullopt) const {
    return detail::value_or_throw(try_add_events(user, std::move(items), event_id));
  }
  std::vector<bool> add_events_many(const std::vector<Event>& events) const {
    return detail::value_or_throw(try_add_events_many(events));
  }
  std::optional<std::vector<bool>> add_events_now(const std::vector<Event>& events) const {
    return detail::value_or_throw(try_add_events_now(events));
  }
  void recommend(const Id& user, Result* result, const RankOptions& options = {}) const {
    detail::value_or_throw(try_recommend(user, result, options));
  }
  bool recommend_now(const Id& user, Result* result, const RankOptions& options = {}) const {
    return detail::value_or_throw(try_recommend_now(user, result, options));
  }
  void recommend_many(const std::vector<Id>& users, Result* result, const RankOptions& options = {}) const {
    detail::value_or_throw(try_recommend_many(users, result, options));
  }
  IdList history(const Id& user) const { return detail::value_or_throw(try_history(user)); }
  bool forget(const Id& user) const { return detail::value_or_throw(try_forget(user)); }
  IdList recent_users(int64_t n) const { return detail::value_or_throw(try_recent_users(n)); }
  recblr_user_metrics metrics() const { return detail::value_or_throw(try_metrics()); }
  void swap(const Engine& engine, int64_t rebuild = 0, bool allow_id_type_change = false) const {
    detail::value_or_throw(try_swap(engine, rebuild, allow_id_type_change));
  }
  void close() const { detail::value_or_throw(try_close()); }
#endif
  recblr_recommender* handle() const { return handle_.get(); }

 private:
  explicit Recommender(recblr_recommender* recommender) : handle_(recommender) {}

  template <typename Call>
  static Expected<IdList> filled(const Call& call) {
    Expected<IdList> list = IdList::try_create();
    if (!list) return list;
    const recblr_status status = call(list->handle());
    if (status != RECBLR_OK) return detail::last_failure(status);
    return list;
  }

  std::unique_ptr<recblr_recommender, detail::Freeing<recblr_recommender_free>> handle_;
};

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_USERS_HPP_
