// Stores of users' histories, the library's and the caller's own; a part of recblr.hpp.
#ifndef RECBLR_STORE_HPP_
#define RECBLR_STORE_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "recblr/expected.hpp"
#include "recblr/ids.hpp"
#include "recblr/recblr.h"

namespace recblr {
inline namespace RECBLR_CLIENT {

// New items of a user; ids are views of what the caller holds.
struct Event {
  Id user;
  std::vector<Id> items;                      // in chronological order, such as no model knows, too
  std::optional<Id> event_id = std::nullopt;  // repeating it for the user changes nothing as long as the event is kept
};

struct StoreOptions {
  int64_t max_history = 0;           // how many of a user's latest items are kept, by whole events; 0: all
  std::string synchronous = "FULL";  // SQLite: or "NORMAL", where an append does not wait for the disk
  std::string prefix = "recblr";     // Redis: of all keys
};

// A store in the caller's code; see recblr_store_callbacks. Called from any thread, from several at once. Where
// exceptions are off, or instead of one, functions return a Failure.
class CustomStore {
 public:
  virtual ~CustomStore() = default;
  // `added` [events] is 1 where an event was new.
  virtual Expected<void> append(Span<const recblr_event> events, Span<uint8_t> added) = 0;
  // Gives to recblr_events_add, of each user in order, the events with numbers from since[b] on.
  virtual Expected<void> read(Span<const recblr_id> users, Span<const int64_t> since, recblr_events* events) = 0;
  virtual Expected<bool> forget(const Id& user) = 0;
  virtual Expected<void> close() { return {}; }
  virtual int64_t max_history() const { return 0; }
};

namespace detail {

inline std::vector<recblr_id> c_ids(const std::vector<Id>& ids) {
  std::vector<recblr_id> made;
  made.reserve(ids.size());
  for (const Id& id : ids) made.push_back(id.c());
  return made;
}

// The C structures of events, which point into each other and to the events' texts.
class CEvents {
 public:
  explicit CEvents(const std::vector<Event>& events) {
    items_.reserve(events.size());
    event_ids_.reserve(events.size());
    for (const Event& event : events) {
      items_.push_back(c_ids(event.items));
      if (event.event_id) event_ids_.push_back(event.event_id->c());
      events_.push_back({event.user.c(), items_.back().data(), static_cast<int64_t>(event.items.size()),
                         event.event_id ? &event_ids_.back() : nullptr});
    }
    added_.resize(events.size());
  }
  CEvents(const CEvents&) = delete;
  CEvents& operator=(const CEvents&) = delete;
  const recblr_event* events() const { return events_.data(); }
  int64_t size() const { return static_cast<int64_t>(events_.size()); }
  uint8_t* added() { return added_.data(); }

  // Which were added, or why none can be told.
  Expected<std::vector<bool>> answer(recblr_status status) const {
    if (status != RECBLR_OK) return last_failure(status);
    return std::vector<bool>(added_.begin(), added_.end());
  }

 private:
  std::vector<std::vector<recblr_id>> items_;
  std::vector<recblr_id> event_ids_;
  std::vector<recblr_event> events_;
  std::vector<uint8_t> added_;
};

template <typename Call>
recblr_status status_of_store(void* context, const Call& call) noexcept {
  CustomStore& store = **static_cast<std::shared_ptr<CustomStore>*>(context);
  return status_of([&] { return call(store); }, RECBLR_STORE_FAILED, "the store threw what is no std::exception");
}

inline recblr_status append_to_store(void* context, const recblr_event* events, int64_t n, uint8_t* added) noexcept {
  const auto size = static_cast<size_t>(n);
  return status_of_store(context, [&](CustomStore& store) { return store.append({events, size}, {added, size}); });
}

inline recblr_status read_store(void* context, const recblr_id* users, const int64_t* since, int64_t n,
                                recblr_events* events) noexcept {
  const auto size = static_cast<size_t>(n);
  return status_of_store(context, [&](CustomStore& store) { return store.read({users, size}, {since, size}, events); });
}

inline recblr_status forget_in_store(void* context, const recblr_id* user, int32_t* found) noexcept {
  return status_of_store(context, [&](CustomStore& store) -> Expected<void> {
    const Expected<bool> done = store.forget(Id(*user));
    if (!done) return done.error();
    *found = static_cast<int32_t>(*done);
    return {};
  });
}

inline recblr_status close_store(void* context) noexcept {
  return status_of_store(context, [](CustomStore& store) { return store.close(); });
}

inline void release_store(void* context) noexcept { delete static_cast<std::shared_ptr<CustomStore>*>(context); }

}  // namespace detail

// Events of some users that were read.
class StoredEvents {
 public:
  // Of a user, numbered as in the call that read them, in order; views that end with this object.
  Expected<Span<const recblr_stored_event>> try_of(size_t user) const {
    const recblr_stored_event* stored = nullptr;
    int64_t count = 0;
    const recblr_status status = recblr_events_of(handle(), static_cast<int64_t>(user), &stored, &count);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Span<const recblr_stored_event>(stored, static_cast<size_t>(count));
  }
#if defined(__cpp_exceptions)
  Span<const recblr_stored_event> of(size_t user) const { return detail::value_or_throw(try_of(user)); }
#endif
  recblr_events* handle() const { return handle_.get(); }

 private:
  friend class Store;
  explicit StoredEvents(recblr_events* events) : handle_(events) {}
  std::unique_ptr<recblr_events, detail::Freeing<recblr_events_free>> handle_;
};

// Where histories are kept: logs of events, which are stored whole or not at all.
class Store {
 public:
  // In memory, "", or in SQLite, a folder, or in Redis, an address; see recblr_store_open.
  static Expected<Store> try_open(const std::string& where = "", const StoreOptions& options = {}) {
    const recblr_store_options given = {sizeof given, options.max_history, options.synchronous.c_str(),
                                        options.prefix.c_str()};
    recblr_store* store = nullptr;
    const recblr_status status = recblr_store_open(where.c_str(), &given, &store);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Store(store);
  }
  static Expected<Store> try_create(std::shared_ptr<CustomStore> custom) {
    if (custom == nullptr) return Failure{Status::kInvalidArgument, "the custom store is NULL"};
    const int64_t max_history = custom->max_history();
    auto context = std::make_unique<std::shared_ptr<CustomStore>>(std::move(custom));
    const recblr_store_callbacks callbacks = {
        sizeof callbacks,        context.get(),       detail::append_to_store, detail::read_store,
        detail::forget_in_store, detail::close_store, detail::release_store,   max_history};
    recblr_store* store = nullptr;
    const recblr_status status = recblr_store_create(&callbacks, &store);
    if (status != RECBLR_OK) return detail::last_failure(status);
    static_cast<void>(context.release());  // the store releases it
    return Store(store);
  }

  // Stores events, durably; which of them were new. Status::kStoreFailed says what was stored.
  Expected<std::vector<bool>> try_append(const std::vector<Event>& events) const {
    detail::CEvents given(events);
    return given.answer(recblr_store_append(handle(), given.events(), given.size(), given.added()));
  }
  // The kept events of users, those with numbers from since[b] on; without `since`, all.
  Expected<StoredEvents> try_read(const std::vector<Id>& users, const std::vector<int64_t>& since = {}) const {
    if (!since.empty() && since.size() != users.size()) {
      return Failure{Status::kInvalidArgument, "since has " + std::to_string(since.size()) + " numbers for " +
                                                   std::to_string(users.size()) + " users"};
    }
    recblr_events* events = nullptr;
    if (const recblr_status status = recblr_events_create(&events); status != RECBLR_OK) {
      return detail::last_failure(status);
    }
    StoredEvents read(events);
    const std::vector<int64_t> from = since.empty() ? std::vector<int64_t>(users.size()) : since;
    const recblr_status status = recblr_store_read(handle(), detail::c_ids(users).data(), from.data(),
                                                   static_cast<int64_t>(users.size()), events);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return read;
  }
  // Removes all of a user; whether there was anything.
  Expected<bool> try_forget(const Id& user) const {
    int32_t found = 0;
    const recblr_status status = recblr_store_forget(handle(), &user.c(), &found);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return found != 0;
  }
  Expected<void> try_close() const { return detail::expected(recblr_store_close(handle())); }
#if defined(__cpp_exceptions)
  explicit Store(const std::string& where = "", const StoreOptions& options = {})
      : Store(detail::value_or_throw(try_open(where, options))) {}
  explicit Store(std::shared_ptr<CustomStore> custom) : Store(detail::value_or_throw(try_create(std::move(custom)))) {}
  std::vector<bool> append(const std::vector<Event>& events) const {
    return detail::value_or_throw(try_append(events));
  }
  StoredEvents read(const std::vector<Id>& users, const std::vector<int64_t>& since = {}) const {
    return detail::value_or_throw(try_read(users, since));
  }
  bool forget(const Id& user) const { return detail::value_or_throw(try_forget(user)); }
  void close() const { detail::value_or_throw(try_close()); }
#endif
  recblr_store* handle() const { return handle_.get(); }

 private:
  explicit Store(recblr_store* store) : handle_(store) {}
  std::unique_ptr<recblr_store, detail::Freeing<recblr_store_free>> handle_;
};

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_STORE_HPP_
