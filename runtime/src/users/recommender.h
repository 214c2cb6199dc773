// The Recommender: an engine, users' histories in a store, and a cache of their states and seen items, in one object.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fork_guard.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "users/serving.h"
#include "users/stores/store.h"

namespace recblr {

// An event as callers give it.
struct EventView {
  Id user;
  const Id* items = nullptr;  // [n_items] in chronological order
  int64_t n_items = 0;
  const Id* event_id = nullptr;  // names it among the user's events, so that it can be repeated; or NULL
};

// Any number of threads may call it at once, and any number of processes may share the store. The store holds
// histories, which are the truth; states and seen items are a cache of what the model makes of them. A state is used
// only if the event it ends with is still in the user's history, which each request asks the store; then what came
// since is fed to it, in the same run that ranks. Else it is rebuilt from the history, many users in one run.
//
// Histories are kept as they are given, whatever the type of the model's ids. Stored ids that can be none of the
// model's are skipped like unknown ones, with one warning in the log.
//
// Methods throw Error: kInvalidArgument for ids that are none, kStore where the store fails, kClosed once it is closed,
// kFork in a fork of its process.
class Recommender {
 public:
  // `cache_bytes`: the most that states and seen items take. Throws Error(kConfig) for a negative one.
  Recommender(std::shared_ptr<Engine> engine, std::shared_ptr<Store> store, int64_t cache_bytes);

  // Adds n events in order, in one transaction or round trip; as durable as the store once this returns. Writes
  // `added` [n]: whether it was new; an event without items changes nothing. If one is malformed, none is added.
  void add_events(const EventView* events, int64_t n, uint8_t* added);

  // The same where nothing but the disk is to be waited for, and the events are few: nobody else writes to the store at
  // this moment, and it is on this machine. Else returns false, and nothing was added.
  bool add_events_now(const EventView* events, int64_t n, uint8_t* added);

  // All of a user's events, as they are stored, and from which item on they count: with max_history, events are trimmed
  // whole.
  Log history(const Id& user, int64_t* first_item);

  // Removes all of a user: history, event ids, state. Another process that shares the store may hold the state until
  // its cache drops it; it never uses it. Returns whether the store held anything of the user.
  bool forget(const Id& user);

  // The best next items for n users, all of one model, whose bundle is returned. Of `request` count exclude_seen (leave
  // out the items of the stored history), exclude, only, k and timeout. The rankings are in `work`; their `unknown` is
  // 0. Where one user's keys hold something else than a history, that is an error for a request for this user alone;
  // among others the user is answered as a new one, with a warning in the log.
  std::shared_ptr<const Bundle> recommend(const Id* users, int64_t n, const Request& request, Work* work);

  // The same for one user, where that needs no waiting and takes about as long as the ranking itself; nullptr where it
  // is not so. For threads that must not wait.
  std::shared_ptr<const Bundle> recommend_now(const Id& user, const Request& request, Work* work);

  // At most `n` users who have a state in the cache, the latest used first, as keys.
  std::vector<std::string> recent_users(int64_t n) const;

  // Puts another model in place, while the old one keeps answering. Requests under way end with the model they began
  // with; the new one runs once before it takes over. States of the old are dropped; those of the `rebuild` users asked
  // for latest are rebuilt before the new model takes over. If anything fails, the old model stays. Throws
  // Error(kConfig) where the ids of the new model are of the other type and `allow_id_type_change` is not set.
  void swap(std::shared_ptr<Engine> engine, int64_t rebuild, bool allow_id_type_change);

  UserMetrics metrics() const;
  // The model that answers now.
  std::shared_ptr<Engine> engine() const;
  // Ends its use; calls under way still finish. The store stays open.
  void close() { is_closed_ = true; }

 private:
  void check_usable() const;
  bool add(const EventView* events, int64_t n, bool may_wait, uint8_t* added);
  std::shared_ptr<Serving> serving() const;

  const std::shared_ptr<Store> store_;
  const int64_t cache_bytes_;
  ForkGuard fork_guard_;
  std::atomic<bool> is_closed_{false};
  const std::shared_ptr<UserCounts> counts_ = std::make_shared<UserCounts>();
  std::mutex swapping_;
  mutable std::mutex mutex_;          // of what follows
  std::shared_ptr<Serving> serving_;  // replaced at once by a swap, so that states of two models never meet
  std::shared_ptr<Serving> next_;     // while a swap rebuilds states
  int64_t evictions_before_ = 0;      // of models before the one in place
};

}  // namespace recblr
