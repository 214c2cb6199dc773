// A store in the caller's hands, as the core sees one.
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/guard.h"
#include "api/users_handles.h"
#include "users/items_text.h"

namespace recblr::api {

namespace {

// Refuses what cannot be a user's events from the number `since` on: they are numbered from 1, without gaps.
void check_numbers(const std::vector<recblr_events::Event>& events, std::string_view user, int64_t since) {
  const auto refuse_event = [&](const recblr_events::Event& event, const std::string& what) {
    refuse(Code::kStore,
           "the store gave event " + std::to_string(event.seq) + " of user " + shown(id_of_key(user)) + what);
  };
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 2;
  for (size_t j = 0; j < events.size(); ++j) {
    const recblr_events::Event& event = events[j];
    if (event.seq < 1 || event.seq > kMost) refuse_event(event, ": number events from 1 on");
    if (event.seq < since) {
      refuse_event(event, " when asked for those from " + std::to_string(since) + " on: give only these");
    }
    if (j > 0 && event.seq != events[j - 1].seq + 1) {
      refuse_event(event, " after event " + std::to_string(events[j - 1].seq) + ": give them in order, without gaps");
    }
    if (event.stamp < 0) refuse_event(event, " with stamp " + std::to_string(event.stamp) + ": draw one from 0 on");
  }
}

class CallbackStore : public Store {
 public:
  explicit CallbackStore(const recblr_store_callbacks& callbacks)
      : Store(callbacks.max_history == 0 ? std::nullopt : std::optional<int64_t>(callbacks.max_history)),
        callbacks_(callbacks) {}
  ~CallbackStore() override {
    if (callbacks_.release != nullptr) callbacks_.release(callbacks_.context);
  }

  // It does not tell where events are in the histories.
  void append(const NewEvent* events, int64_t n, Appended* appended) override {
    std::vector<OwnedIds> items(static_cast<size_t>(n));
    std::vector<recblr_id> event_ids(static_cast<size_t>(n));
    std::vector<recblr_event> given;
    for (int64_t j = 0; j < n; ++j) {
      OwnedIds& own = items[static_cast<size_t>(j)];
      ItemsReader reader(events[j].items);
      for (Id id; reader.next(&id);) own.add(id);
      own.settle();
      recblr_event event{written_id(id_of_key(events[j].user)), own.ids(), static_cast<int64_t>(own.size()), nullptr};
      if (!events[j].event_id.empty()) {
        event_ids[static_cast<size_t>(j)] = written_id(id_of_key(events[j].event_id));
        event.event_id = &event_ids[static_cast<size_t>(j)];
      }
      given.push_back(event);
    }
    std::vector<uint8_t> added(static_cast<size_t>(n));
    checked([&] { return callbacks_.append(callbacks_.context, given.data(), n, added.data()); });
    for (int64_t j = 0; j < n; ++j) {
      appended[j] = {};
      appended[j].is_new = added[static_cast<size_t>(j)] != 0;
    }
  }

  // From the place's own event on, which tells whether it is still the same; where it is not, all.
  void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) override {
    std::vector<int64_t> since, rows;
    for (int64_t b = 0; b < n; ++b) {
      rows.push_back(b);
      since.push_back(places[b].seq + (places[b].stamp == kAnyStamp && places[b].seq > 0));
      logs[b].continues = places[b].stamp == kAnyStamp;
    }
    read_rows(users, rows, since, logs);
    std::vector<int64_t> again;
    for (int64_t b = 0; b < n; ++b) {
      Log& log = logs[b];
      if (log.continues || places[b].seq == 0) continue;
      log.continues =
          !log.events.empty() && log.events[0].seq == places[b].seq && log.events[0].stamp == places[b].stamp;
      if (log.continues) {
        log.events.erase(log.events.begin());
      } else {
        again.push_back(b);
      }
    }
    read_rows(users, again, std::vector<int64_t>(again.size()), logs);
  }

  bool forget(std::string_view user) override {
    const recblr_id id = written_id(id_of_key(user));
    int32_t found = 0;
    checked([&] { return callbacks_.forget(callbacks_.context, &id, &found); });
    return found != 0;
  }

  void close() override {
    if (callbacks_.close != nullptr) checked([&] { return callbacks_.close(callbacks_.context); });
  }

 private:
  template <typename Call>
  static void checked(const Call& call) {
    clear_last_error();
    const recblr_status status = call();
    if (status == RECBLR_OK) return;
    const std::string message = last_error();
    const bool is_known = status > RECBLR_OK && status <= RECBLR_INTERNAL;
    refuse(is_known ? static_cast<Code>(status) : Code::kStore,
           message.empty() ? "the store gave status " + std::to_string(status) + " and no message" : message);
  }

  void read_rows(const std::string_view* users, const std::vector<int64_t>& rows, const std::vector<int64_t>& since,
                 Log* logs) {
    if (rows.empty()) return;
    std::vector<recblr_id> ids;
    for (const int64_t b : rows) ids.push_back(written_id(id_of_key(users[b])));
    const auto n = static_cast<int64_t>(rows.size());
    recblr_events events;
    events.reset(n);
    checked([&] { return callbacks_.read(callbacks_.context, ids.data(), since.data(), n, &events); });
    events.ids.settle();
    std::vector<Id> items;
    for (size_t j = 0; j < rows.size(); ++j) {
      Log& log = logs[rows[j]];
      check_numbers(events.users[j], users[rows[j]], since[j]);
      const bool continues = log.continues;
      log.clear();
      log.continues = continues;
      for (const recblr_events::Event& event : events.users[j]) {
        items.clear();
        for (size_t i = event.begin; i < event.end; ++i) items.push_back(read_id(events.ids.ids()[i], "items"));
        log.add(event.seq, event.stamp, items_text(items.data(), static_cast<int64_t>(items.size())));
      }
    }
  }

  const recblr_store_callbacks callbacks_;
};

}  // namespace

std::shared_ptr<Store> callback_store(const recblr_store_callbacks& callbacks) {
  return std::make_shared<CallbackStore>(callbacks);
}

}  // namespace recblr::api
