#include "users/recommender.h"

#include <memory>
#include <vector>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/request.h"
#include "api/result.h"
#include "api/users_handles.h"
#include "users/items_text.h"

using recblr::api::check_count;
using recblr::api::guarded;
using recblr::api::not_null;
using recblr::api::read_id;

namespace {

constexpr int64_t kDefaultCacheBytes = int64_t{256} << 20;

recblr::Recommender& made(recblr_recommender* recommender) { return not_null(recommender, "recommender")->recommender; }

// Fills a result by a call of the recommender; false where that gives none.
template <typename Answer>
bool answer_in(recblr_result* result, const Answer& answer) {
  recblr::api::claim(result);
  bool is_answered = false;
  try {
    result->bundle = answer();
    is_answered = result->bundle != nullptr;
    if (is_answered) recblr::api::decode(result);
  } catch (...) {
    recblr::api::release(result, false);
    throw;
  }
  recblr::api::release(result, is_answered);
  return is_answered;
}

// Refuses a request that has what users' histories are asked for.
void check_options(const recblr_request* request) {
  const recblr_request given = recblr::api::read_struct(request, "request");
  if (given.items.n_rows != 0 || given.states != nullptr || given.new_states != nullptr) {
    refuse(recblr::Code::kInvalidArgument, "request has items or states: the store and the cache have those of users");
  }
}

}  // namespace

extern "C" {

recblr_status recblr_recommender_create(recblr_engine* engine, recblr_store* store,
                                        const recblr_recommender_options* options, recblr_recommender** recommender) {
  return guarded([=] {
    *not_null(recommender, "recommender") = nullptr;
    recblr_recommender_options given{};
    if (options != nullptr) given = recblr::api::read_struct(options, "options");
    int64_t cache_bytes = given.cache_bytes == 0 ? kDefaultCacheBytes : given.cache_bytes;
    if (given.no_cache != 0) cache_bytes = 0;
    *recommender =
        new recblr_recommender{{not_null(engine, "engine")->engine, not_null(store, "store")->store, cache_bytes}};
  });
}

void recblr_recommender_free(recblr_recommender* recommender) { delete recommender; }

recblr_status recblr_recommender_close(recblr_recommender* recommender) {
  return guarded([=] { made(recommender).close(); });
}

recblr_status recblr_recommender_add_events(recblr_recommender* recommender, const recblr_event* events, int64_t n,
                                            uint8_t* added) {
  return guarded([=] {
    recblr::Recommender& used = made(recommender);
    if (n > 0) not_null(added, "added");
    recblr::api::ReadEvents read;
    recblr::api::read_events(events, n, &read);
    used.add_events(read.events.data(), static_cast<int64_t>(read.events.size()), added);
  });
}

recblr_status recblr_recommender_add_events_now(recblr_recommender* recommender, const recblr_event* events, int64_t n,
                                                uint8_t* added, int32_t* is_done) {
  return guarded([=] {
    recblr::Recommender& used = made(recommender);
    *not_null(is_done, "is_done") = 0;
    if (n > 0) not_null(added, "added");
    recblr::api::ReadEvents read;
    recblr::api::read_events(events, n, &read);
    *is_done =
        static_cast<int32_t>(used.add_events_now(read.events.data(), static_cast<int64_t>(read.events.size()), added));
  });
}

recblr_status recblr_recommender_history(recblr_recommender* recommender, const recblr_id* user,
                                         recblr_id_list* items) {
  return guarded([=] {
    recblr::Recommender& used = made(recommender);
    not_null(items, "items");
    int64_t first = 0, number = 0;
    const recblr::Log log = used.history(read_id(*not_null(user, "user"), "user"), &first);
    items->ids.clear();
    for (const recblr::Log::Event& event : log.events) {
      recblr::ItemsReader reader(log.items(event));
      for (recblr::Id id; reader.next(&id);) {
        if (number++ >= first) items->ids.add(id);
      }
    }
    items->ids.settle();
  });
}

recblr_status recblr_recommender_forget(recblr_recommender* recommender, const recblr_id* user, int32_t* found) {
  return guarded([=] {
    not_null(found, "found");
    *found = static_cast<int32_t>(made(recommender).forget(read_id(*not_null(user, "user"), "user")));
  });
}

recblr_status recblr_recommender_recommend(recblr_recommender* recommender, const recblr_id* users, int64_t n,
                                           const recblr_request* request, recblr_result* result) {
  return guarded([=] {
    recblr::Recommender& used = made(recommender);
    check_count(n);
    check_options(request);
    answer_in(result, [&] {
      recblr::api::ReadRequest read;
      recblr::api::read_request(request, *used.engine()->bundle(), result, &read);
      std::vector<recblr::Id> ids;
      ids.reserve(static_cast<size_t>(n));
      for (int64_t b = 0; b < n; ++b) ids.push_back(read_id(not_null(users, "users")[b], "users"));
      return used.recommend(ids.data(), n, read.request, &result->work);
    });
  });
}

recblr_status recblr_recommender_recommend_now(recblr_recommender* recommender, const recblr_id* user,
                                               const recblr_request* request, recblr_result* result,
                                               int32_t* is_answered) {
  return guarded([=] {
    recblr::Recommender& used = made(recommender);
    *not_null(is_answered, "is_answered") = 0;
    check_options(request);
    const bool done = answer_in(result, [&] {
      recblr::api::ReadRequest read;
      recblr::api::read_request(request, *used.engine()->bundle(), result, &read);
      return used.recommend_now(read_id(*not_null(user, "user"), "user"), read.request, &result->work);
    });
    *is_answered = static_cast<int32_t>(done);
  });
}

recblr_status recblr_recommender_recent_users(const recblr_recommender* recommender, int64_t n, recblr_id_list* users) {
  return guarded([=] {
    not_null(recommender, "recommender");
    not_null(users, "users");
    check_count(n);
    users->ids.clear();
    for (const std::string& key : recommender->recommender.recent_users(n)) users->ids.add(recblr::id_of_key(key));
    users->ids.settle();
  });
}

recblr_status recblr_recommender_swap(recblr_recommender* recommender, recblr_engine* engine, int64_t rebuild,
                                      int32_t allow_id_type_change) {
  return guarded([=] {
    check_count(rebuild, "rebuild");
    made(recommender).swap(not_null(engine, "engine")->engine, rebuild, allow_id_type_change != 0);
  });
}
}
