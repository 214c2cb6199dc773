// What is behind the handles of recblr.h that have to do with users.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "recblr/recblr.h"
#include "users/id.h"
#include "users/recommender.h"
#include "users/stores/store.h"

namespace recblr::api {

// Ids with their texts. Texts are views only once `settle` was called after the last `add`.
class OwnedIds {
 public:
  void clear();
  void add(const Id& id);
  void settle();
  const recblr_id* ids() const { return ids_.data(); }
  size_t size() const { return ids_.size(); }

 private:
  std::vector<recblr_id> ids_;
  std::vector<size_t> begins_;  // of their texts
  std::string text_;
};

// An id that a caller gives; throws Error(kInvalidArgument) for one of no type, or without text.
Id read_id(const recblr_id& id, const char* name);
recblr_id written_id(const Id& id);

// Events that a caller gives, as the core takes them.
struct ReadEvents {
  std::vector<EventView> events;
  std::vector<Id> ids;  // of their items and event ids
};
void read_events(const recblr_event* events, int64_t n, ReadEvents* read);

std::shared_ptr<Store> callback_store(const recblr_store_callbacks& callbacks);

}  // namespace recblr::api

struct recblr_id_list {
  recblr::api::OwnedIds ids;
};

struct recblr_store {
  std::shared_ptr<recblr::Store> store;
};

struct recblr_events {
  struct Event {
    int64_t seq, stamp;
    size_t begin, end;  // of its items in `ids`
  };
  std::vector<std::vector<Event>> users;
  recblr::api::OwnedIds ids;
  std::vector<std::vector<recblr_stored_event>> stored;  // by user, once it is settled

  void reset(int64_t n_users);
  void settle();
};

struct recblr_recommender {
  recblr::Recommender recommender;
};
