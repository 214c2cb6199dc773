// A bounded cache of users' states and seen items, the least recently used dropped first.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "users/user_items.h"

namespace recblr {

// Of one model. Threads may share it. What it holds never decides what is right: a state is used only where the store
// still has the event that it ends with.
//
// Memory: states lie in blocks without gaps, and with a user come 48 bytes, at most 12 of an index, and one piece of 4
// bytes for each item and one for each character of the id: for a short history at most 1.04 times a state of 1,088
// numbers. Slots are kept dense, so that blocks no longer needed go back.
class StateCache {
 public:
  // States of S numbers; `max_bytes` for all of it. Throws Error(kConfig) for a negative one.
  StateCache(int64_t state_size, int64_t max_bytes, std::optional<int64_t> max_history);
  ~StateCache();
  StateCache(const StateCache&) = delete;
  StateCache& operator=(const StateCache&) = delete;

  // Of a user's state that is taken, to be put back; `put` refuses it where the user was dropped since, or another's
  // state put.
  struct Ticket {
    uint64_t revision = 0;  // 0: there was no state
    uint32_t drops = 0;
  };

  // Copies what it holds of a user, and marks the user as used; without a state, `items` is cleared and `state` [S]
  // left.
  Ticket take(std::string_view user, UserItems* items, float* state);

  // Keeps a user's state, which all of `items` was fed to; not one that is not finite.
  void put(std::string_view user, const Ticket& ticket, const UserItems& items, const float* state);

  // Whether a user's state, and the items beside it, end with this place.
  bool ends_with(std::string_view user, const Place& place) const;

  // Adds a new event to those that the state lacks, where what it holds of the user ends with the one `before`.
  void add(std::string_view user, const Place& before, const Place& place, const int32_t* items, int64_t n);

  // Removes all of a user, and refuses what is under way. Returns whether there was anything.
  bool drop(std::string_view user);

  // At most `n` users, the latest used first, as keys.
  std::vector<std::string> recent_users(int64_t n) const;
  int64_t size() const;       // users
  int64_t bytes() const;      // that they take, at most max_bytes
  int64_t evictions() const;  // users dropped for others so far

 private:
  struct Slot;
  struct Tail;
  struct Block;

  Slot& slot(uint32_t number) const;
  float* state(uint32_t number) const;
  static std::string_view user_of(const Slot& slot);
  uint32_t find(std::string_view user, uint32_t hash) const;
  uint32_t insert(uint32_t hash);  // a slot without a tail
  void remove(uint32_t number);
  Tail* tail_with_room(Tail* old, std::string_view user, size_t n_items);
  void write_items(Slot* slot, std::string_view user, const UserItems& items);
  void free_tail(Tail* tail);
  int64_t counted() const;
  void make_room(int64_t bytes);
  void link(uint32_t number);
  void unlink(uint32_t number);
  void use(uint32_t number);
  size_t index_place(uint32_t number) const;
  void unindex(uint32_t number);
  void fit_index(size_t n);

  const int64_t state_size_, max_bytes_;
  const std::optional<int64_t> max_history_;
  mutable std::mutex mutex_;  // of all that follows
  std::vector<Block> blocks_;
  uint32_t size_ = 0;            // slots 0 to size_ - 1 are taken
  std::vector<uint32_t> index_;  // open addressing by hash: a slot's number + 1, 0 for none
  uint32_t newest_, oldest_;     // ends of the order of use
  int64_t tail_bytes_ = 0;
  uint64_t revision_ = 0;  // of the latest state put
  int64_t evictions_ = 0;
  std::vector<uint32_t> drops_;  // of users, counted by hash, so that nothing of a dropped user stays
  UserItems scratch_;
};

}  // namespace recblr
