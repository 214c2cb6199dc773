// Histories of users as logs of events: the one interface of memory, SQLite, Redis and stores of the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fork_guard.h"
#include "users/id.h"

namespace recblr {

// New items of one user, checked, as one event.
struct NewEvent {
  std::string user;      // key_of
  std::string event_id;  // key_of; names the event among those of the user; empty for one that is never repeated
  std::string items;     // items_text of at least one, at most the store's max_history
  int64_t n_items;
};

// A place in a user's history: an event's number, from 1, without gaps; and its stamp, drawn at random below 2^63. Two
// histories that agree in an event's number and stamp agree in all up to it, even if one of them was forgotten, or lost
// its end to a crash, and went on otherwise. Number 0 is before the first event.
struct Place {
  int64_t seq = 0;
  int64_t stamp = 0;
};
constexpr int64_t kAnyStamp = -1;  // in a place to read from: whatever stamp the event has
inline bool operator==(const Place& a, const Place& b) { return a.seq == b.seq && a.stamp == b.stamp; }

struct Appended {
  bool is_new = false;       // whether the event was stored; otherwise its event_id was known
  Place place;               // of the event; seq is 0 where the store does not tell
  int64_t stamp_before = 0;  // of the event before it, 0 for none
};

// A user's events, or the latest of them.
struct Log {
  struct Event {
    int64_t seq, stamp;
    size_t begin, end;  // of its items in `text`
  };
  bool continues = false;  // the events are all after the place that was asked for, which is still kept
  std::vector<Event> events;
  std::string text;
  std::string fault;  // not empty: what the store holds of this user cannot be read, and why

  std::string_view items(const Event& event) const {
    return std::string_view(text).substr(event.begin, event.end - event.begin);
  }
  void add(int64_t seq, int64_t stamp, std::string_view items);
  void clear();
};

// Stores keep item ids as users give them, so that histories outlive a model; what an id means, a model decides when it
// reads them. An event is kept until it is forgotten, or, with max_history, until at least so many items came after it;
// its id is remembered as long as it is kept. No clock is read: the order of events is that in which they were stored.
//
// Any number of threads may call it at once. Methods throw Error(kStore) where the store cannot be reached, is full,
// fails or is closed, and then say whether anything was stored; Error(kFork) in a fork of the process that opened it.
class Store {
 public:
  // `max_history`: how many of a user's latest items to keep; nullopt for all. Throws Error(kConfig) for one below 1.
  explicit Store(std::optional<int64_t> max_history);
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  std::optional<int64_t> max_history() const { return max_history_; }

  // Stores n events, durably before this returns, each whole or not at all, and after those already stored for its
  // user. One whose event_id the user's history holds already changes nothing. Writes `appended` [n].
  virtual void append(const NewEvent* events, int64_t n, Appended* appended) = 0;

  // The same where nothing but the disk is to be waited for: nobody else writes, and no other machine is asked. Else
  // returns false, and nothing was stored.
  virtual bool append_now(const NewEvent* /*events*/, int64_t /*n*/, Appended* /*appended*/) { return false; }

  // Reads n users' kept events: those after places[b], if that event is still kept with this stamp, or else all. Writes
  // logs [n].
  virtual void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) = 0;

  // Whether reading may wait for a disk or another machine.
  virtual bool waits() const { return true; }

  // Removes all of a user: events and event ids. Returns whether there was anything.
  virtual bool forget(std::string_view user) = 0;

  // Closes what it holds open; it cannot be used afterwards. Safe to call again.
  virtual void close() = 0;

 protected:
  void check_process() const;  // throws Error(kFork)
  bool forked() const { return fork_guard_.forked(); }

 private:
  std::optional<int64_t> max_history_;
  ForkGuard fork_guard_;
};

// An event as callers give it, checked and in the form that stores take; of more than max_history items the last ones.
// `event_id` may be nullptr. Throws Error(kInvalidArgument).
NewEvent new_event(const Id& user, const Id* items, int64_t n_items, const Id* event_id,
                   std::optional<int64_t> max_history);

// A stamp that no other event has: unique across threads, processes and forks.
int64_t new_stamp();

// What another library says, for a message of ours: as one line.
std::string one_line(std::string_view text);

}  // namespace recblr
