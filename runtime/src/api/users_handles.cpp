#include "api/users_handles.h"

#include "api/arguments.h"
#include "api/guard.h"

namespace recblr::api {

void OwnedIds::clear() {
  ids_.clear();
  begins_.clear();
  text_.clear();
}

void OwnedIds::add(const Id& id) {
  begins_.push_back(text_.size());
  ids_.push_back({static_cast<int32_t>(id.type), id.integer, nullptr, static_cast<int64_t>(id.text.size())});
  if (id.text.data() == nullptr) {
    begins_.back() = std::string::npos;
    return;
  }
  text_.append(id.text);
  text_ += '\0';
}

void OwnedIds::settle() {
  for (size_t j = 0; j < ids_.size(); ++j) {
    if (begins_[j] != std::string::npos) ids_[j].text = text_.data() + begins_[j];
  }
}

Id read_id(const recblr_id& id, const char* name) {
  if (id.type == RECBLR_INTEGER_IDS && id.text == nullptr) return Id::of(id.integer);
  if (id.type != RECBLR_INTEGER_IDS && id.type != RECBLR_STRING_IDS) {
    refuse(Code::kInvalidArgument, std::string(name) + ".type is " + std::to_string(id.type) +
                                       ": give RECBLR_INTEGER_IDS or RECBLR_STRING_IDS");
  }
  if (id.length < 0 || (id.text == nullptr && id.length > 0)) {
    refuse(Code::kInvalidArgument, std::string(name) + " has no text of " + std::to_string(id.length) + " bytes");
  }
  return {static_cast<IdType>(id.type), 0, {id.text == nullptr ? "" : id.text, static_cast<size_t>(id.length)}};
}

recblr_id written_id(const Id& id) {
  return {static_cast<int32_t>(id.type), id.integer, id.text.data(), static_cast<int64_t>(id.text.size())};
}

void read_events(const recblr_event* events, int64_t n, ReadEvents* read) {
  check_count(n);
  if (n > 0) not_null(events, "events");
  size_t n_ids = 0;
  for (int64_t j = 0; j < n; ++j) {
    check_count(events[j].n_items, "n_items");
    if (events[j].n_items > 0) not_null(events[j].items, "items");
    n_ids += static_cast<size_t>(events[j].n_items) + 1;
  }
  read->events.clear();
  read->ids.clear();
  read->ids.reserve(n_ids);  // what it holds does not move
  for (int64_t j = 0; j < n; ++j) {
    const recblr_event& event = events[j];
    EventView view;
    view.user = read_id(event.user, "user");
    view.items = read->ids.data() + read->ids.size();
    view.n_items = event.n_items;
    for (int64_t i = 0; i < event.n_items; ++i) read->ids.push_back(read_id(event.items[i], "items"));
    if (event.event_id != nullptr) {
      read->ids.push_back(read_id(*event.event_id, "event_id"));
      view.event_id = &read->ids.back();
    }
    read->events.push_back(view);
  }
}

}  // namespace recblr::api

void recblr_events::reset(int64_t n_users) {
  users.resize(static_cast<size_t>(n_users));
  for (auto& events : users) events.clear();
  ids.clear();
  stored.clear();
}

void recblr_events::settle() {
  ids.settle();
  stored.assign(users.size(), {});
  for (size_t b = 0; b < users.size(); ++b) {
    for (const Event& event : users[b]) {
      stored[b].push_back(
          {event.seq, event.stamp, ids.ids() + event.begin, static_cast<int64_t>(event.end - event.begin)});
    }
  }
}
