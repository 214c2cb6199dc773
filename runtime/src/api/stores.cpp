#include <memory>
#include <string>
#include <vector>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/users_handles.h"
#include "users/items_text.h"
#include "users/log.h"
#include "users/stores/opening.h"

using recblr::api::check_count;
using recblr::api::guarded;
using recblr::api::guarded_or;
using recblr::api::not_null;
using recblr::api::read_id;

namespace {

recblr::Store& opened(recblr_store* store) { return *not_null(store, "store")->store; }

std::string checked_key(const recblr_id* user, const char* name) {
  const recblr::Id id = read_id(*not_null(user, name), name);
  recblr::check_id(id, name);
  return key_of(id);
}

void check_user(int64_t user, size_t n_users) {
  if (user < 0 || user >= static_cast<int64_t>(n_users)) {
    refuse(recblr::Code::kInvalidArgument, "user is " + std::to_string(user) + " of " + std::to_string(n_users));
  }
}

}  // namespace

extern "C" {

recblr_status recblr_id_list_create(recblr_id_list** list) {
  return guarded([=] { *not_null(list, "list") = new recblr_id_list; });
}

void recblr_id_list_free(recblr_id_list* list) { delete list; }

int64_t recblr_id_list_size(const recblr_id_list* list) {
  return guarded_or<int64_t>(0, [=] { return static_cast<int64_t>(not_null(list, "list")->ids.size()); });
}

const recblr_id* recblr_id_list_ids(const recblr_id_list* list) {
  return guarded_or<const recblr_id*>(nullptr, [=] { return not_null(list, "list")->ids.ids(); });
}

recblr_status recblr_store_open(const char* where, const recblr_store_options* options, recblr_store** store) {
  return guarded([=] {
    *not_null(store, "store") = nullptr;
    recblr_store_options given{};
    if (options != nullptr) given = recblr::api::read_struct(options, "options");
    recblr::StoreSettings settings;
    if (given.max_history != 0) settings.max_history = given.max_history;
    if (given.synchronous != nullptr) settings.synchronous = given.synchronous;
    if (given.prefix != nullptr) settings.prefix = given.prefix;
    *store = new recblr_store{recblr::open_store(where == nullptr ? "" : where, settings)};
  });
}

recblr_status recblr_store_create(const recblr_store_callbacks* callbacks, recblr_store** store) {
  return guarded([=] {
    *not_null(store, "store") = nullptr;
    const auto given = recblr::api::read_struct(callbacks, "callbacks");
    not_null(reinterpret_cast<const void*>(given.append), "callbacks.append");
    not_null(reinterpret_cast<const void*>(given.read), "callbacks.read");
    not_null(reinterpret_cast<const void*>(given.forget), "callbacks.forget");
    auto made = std::make_unique<recblr_store>();
    made->store = recblr::api::callback_store(given);
    *store = made.release();
  });
}

void recblr_store_free(recblr_store* store) { delete store; }

recblr_status recblr_store_close(recblr_store* store) {
  return guarded([=] { opened(store).close(); });
}

recblr_status recblr_store_append(recblr_store* store, const recblr_event* events, int64_t n, uint8_t* added) {
  return guarded([=] {
    recblr::Store& kept = opened(store);
    check_count(n);
    if (n > 0) not_null(added, "added");
    recblr::api::ReadEvents read;
    recblr::api::read_events(events, n, &read);
    std::vector<recblr::NewEvent> checked;
    for (const recblr::EventView& event : read.events) {
      checked.push_back(new_event(event.user, event.items, event.n_items, event.event_id, kept.max_history()));
      if (event.n_items == 0) {
        refuse(recblr::Code::kInvalidArgument, "an event of user " + shown(event.user) + " has no items: give one");
      }
    }
    std::vector<recblr::Appended> appended(checked.size());
    kept.append(checked.data(), n, appended.data());
    for (int64_t j = 0; j < n; ++j) added[j] = static_cast<uint8_t>(appended[static_cast<size_t>(j)].is_new);
  });
}

recblr_status recblr_store_forget(recblr_store* store, const recblr_id* user, int32_t* found) {
  return guarded([=] {
    not_null(found, "found");
    *found = static_cast<int32_t>(opened(store).forget(checked_key(user, "user")));
  });
}

recblr_status recblr_events_create(recblr_events** events) {
  return guarded([=] { *not_null(events, "events") = new recblr_events; });
}

void recblr_events_free(recblr_events* events) { delete events; }

recblr_status recblr_events_of(const recblr_events* events, int64_t user, const recblr_stored_event** stored,
                               int64_t* count) {
  return guarded([=] {
    not_null(events, "events");
    check_user(user, events->stored.size());
    const auto& found = events->stored[static_cast<size_t>(user)];
    *not_null(stored, "stored") = found.data();
    *not_null(count, "count") = static_cast<int64_t>(found.size());
  });
}

recblr_status recblr_events_add(recblr_events* events, int64_t user, int64_t seq, int64_t stamp, const recblr_id* items,
                                int64_t n_items) {
  return guarded([=] {
    not_null(events, "events");
    check_count(n_items, "n_items");
    if (n_items > 0) not_null(items, "items");
    check_user(user, events->users.size());
    const size_t begin = events->ids.size();
    for (int64_t j = 0; j < n_items; ++j) {
      const recblr::Id id = read_id(items[j], "items");
      recblr::check_id(id, "items", j);
      events->ids.add(id);
    }
    events->users[static_cast<size_t>(user)].push_back({seq, stamp, begin, events->ids.size()});
  });
}

recblr_status recblr_store_read(recblr_store* store, const recblr_id* users, const int64_t* since, int64_t n,
                                recblr_events* events) {
  return guarded([=] {
    recblr::Store& kept = opened(store);
    not_null(events, "events");
    check_count(n);
    std::vector<std::string> keys;
    std::vector<recblr::Place> places;
    for (int64_t b = 0; b < n; ++b) {
      keys.push_back(checked_key(not_null(users, "users") + b, "user"));
      check_count(not_null(since, "since")[b], "since");
      places.push_back({std::max<int64_t>(since[b] - 1, 0), recblr::kAnyStamp});
    }
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    std::vector<recblr::Log> logs(static_cast<size_t>(n));
    kept.read(views.data(), places.data(), n, logs.data());
    events->reset(n);
    for (size_t b = 0; b < logs.size(); ++b) {
      const recblr::Log& log = logs[b];
      if (!log.fault.empty()) refuse(recblr::Code::kStore, log.fault + "; nothing was read; forget the user");
      for (const recblr::Log::Event& event : log.events) {
        const size_t begin = events->ids.size();
        recblr::ItemsReader reader(log.items(event));
        for (recblr::Id id; reader.next(&id);) events->ids.add(id);
        if (!reader.ended_well()) {
          refuse(recblr::Code::kStore, "the history of user " + shown(recblr::id_of_key(keys[b])) +
                                           " holds an event that is no list of item ids; nothing was read; forget the "
                                           "user");
        }
        events->users[b].push_back({event.seq, event.stamp, begin, events->ids.size()});
      }
    }
    events->settle();
  });
}

recblr_status recblr_set_logger(void (*logger)(void* context, int32_t level, const char* message), void* context) {
  return guarded([=] { recblr::set_logger(logger, context); });
}
}
