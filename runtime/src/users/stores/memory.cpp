#include "users/stores/memory.h"

#include <deque>
#include <unordered_set>

#include "base/error.h"

namespace recblr {

struct MemoryStore::History {
  struct Event {
    int64_t stamp, n_items;
    std::string items, event_id;
  };
  std::mutex mutex;       // of all that follows
  int64_t first_seq = 1;  // of the first event kept
  int64_t n_items = 0;    // of all events kept
  std::deque<Event> events;
  std::unordered_set<std::string> event_ids;
};

MemoryStore::MemoryStore(std::optional<int64_t> max_history) : Store(max_history) {}

MemoryStore::~MemoryStore() = default;

void MemoryStore::check_open() const {
  if (is_closed_) refuse(Code::kStore, "the store is closed: open it again");
}

std::shared_ptr<MemoryStore::History> MemoryStore::find(const std::string& user) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = histories_.find(user);
  return found == histories_.end() ? nullptr : found->second;
}

std::shared_ptr<MemoryStore::History> MemoryStore::find_or_add(const std::string& user) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::shared_ptr<History>& history = histories_[user];
  if (history == nullptr) history = std::make_shared<History>();
  return history;
}

void MemoryStore::append(const NewEvent* events, int64_t n, Appended* appended) {
  check_process();
  check_open();
  for (int64_t j = 0; j < n; ++j) appended[j] = append_one(events[j]);
}

bool MemoryStore::append_now(const NewEvent* events, int64_t n, Appended* appended) {
  append(events, n, appended);
  return true;
}

Appended MemoryStore::append_one(const NewEvent& event) {
  const std::shared_ptr<History> kept = find_or_add(event.user);
  History& history = *kept;
  const std::lock_guard<std::mutex> lock(history.mutex);
  if (!event.event_id.empty() && !history.event_ids.insert(event.event_id).second) return {};
  Appended appended;
  appended.is_new = true;
  appended.place = {history.first_seq + static_cast<int64_t>(history.events.size()), new_stamp()};
  appended.stamp_before = history.events.empty() ? 0 : history.events.back().stamp;
  history.events.push_back({appended.place.stamp, event.n_items, event.items, event.event_id});
  history.n_items += event.n_items;
  while (max_history() && history.n_items - history.events.front().n_items >= *max_history()) {
    history.n_items -= history.events.front().n_items;
    history.event_ids.erase(history.events.front().event_id);
    history.events.pop_front();
    ++history.first_seq;
  }
  return appended;
}

void MemoryStore::read(const std::string_view* users, const Place* places, int64_t n, Log* logs) {
  check_process();
  check_open();
  std::string key;
  for (int64_t b = 0; b < n; ++b) {
    Log& log = logs[b];
    log.clear();
    key.assign(users[b]);
    const std::shared_ptr<History> kept = find(key);
    if (kept == nullptr) {
      log.continues = places[b].stamp == kAnyStamp;
      continue;
    }
    const History& history = *kept;
    const std::lock_guard<std::mutex> lock(kept->mutex);
    const auto size = static_cast<int64_t>(history.events.size());
    int64_t at = places[b].seq - history.first_seq;  // of the event asked for
    log.continues = places[b].stamp == kAnyStamp ||
                    (at >= 0 && at < size && history.events[static_cast<size_t>(at)].stamp == places[b].stamp);
    if (!log.continues) at = -1;
    for (at = std::max<int64_t>(at, -1) + 1; at < size; ++at) {
      const History::Event& event = history.events[static_cast<size_t>(at)];
      log.add(history.first_seq + at, event.stamp, event.items);
    }
  }
}

bool MemoryStore::forget(std::string_view user) {
  check_process();
  check_open();
  decltype(histories_)::node_type gone;  // freed without the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  gone = histories_.extract(std::string(user));
  return !gone.empty();
}

void MemoryStore::close() {
  std::unordered_map<std::string, std::shared_ptr<History>> gone;  // without the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  is_closed_ = true;
  gone.swap(histories_);
}

}  // namespace recblr
