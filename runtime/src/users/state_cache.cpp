#include "users/state_cache.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>

#include "base/error.h"

namespace recblr {

namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint32_t kBlock = 256;        // slots of a block
constexpr size_t kDropCounters = 4096;  // a power of two
constexpr size_t kFewestPlaces = 16;    // of the index, a power of two
constexpr int64_t kIndexBytes = 12;     // of a slot, at most: 4 bytes a place, of which more than a third is taken
constexpr int64_t kHeapBytes = 16;      // that the heap adds to a piece

uint32_t hash_of(std::string_view user) {
  const uint64_t hash = std::hash<std::string_view>()(user);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

int64_t slot_bytes(int64_t state_size) { return 4 * state_size + 48 + kIndexBytes; }

bool is_finite(const float* numbers, int64_t n) {
  return std::all_of(numbers, numbers + n, [](float x) { return std::isfinite(x); });
}

}  // namespace

struct StateCache::Slot {
  Place place;
  uint64_t revision;
  Tail* tail;
  uint32_t newer, older;
  uint32_t hash;
  uint32_t n_new;
};

// In one piece of the heap: this, the user's key, seen items, recent items.
struct StateCache::Tail {
  uint32_t capacity;  // bytes after this
  uint32_t key_size, n_seen, n_recent;

  static size_t needed(size_t key_size, size_t n_items) { return (key_size + 3) / 4 * 4 + 4 * n_items; }
  int64_t bytes() const { return static_cast<int64_t>(sizeof(Tail)) + capacity + kHeapBytes; }
  char* key() { return reinterpret_cast<char*>(this + 1); }
  int32_t* seen() { return reinterpret_cast<int32_t*>(key() + needed(key_size, 0)); }
  int32_t* recent() { return seen() + n_seen; }
};

struct StateCache::Block {
  std::unique_ptr<Slot[]> slots;
  std::unique_ptr<float[]> states;
};

StateCache::StateCache(int64_t state_size, int64_t max_bytes, std::optional<int64_t> max_history)
    : state_size_(state_size), max_bytes_(max_bytes), max_history_(max_history), newest_(kNone), oldest_(kNone) {
  static_assert(sizeof(Slot) == 48, "as documented");
  if (max_bytes < 0) {
    refuse(Code::kConfig,
           "cache_bytes is " + std::to_string(max_bytes) + ": give a whole number of bytes, 0 for no cache");
  }
  drops_.resize(kDropCounters);
}

StateCache::~StateCache() {
  for (uint32_t number = 0; number < size_; ++number) std::free(slot(number).tail);
}

StateCache::Slot& StateCache::slot(uint32_t number) const { return blocks_[number / kBlock].slots[number % kBlock]; }

float* StateCache::state(uint32_t number) const {
  return blocks_[number / kBlock].states.get() + static_cast<int64_t>(number % kBlock) * state_size_;
}

std::string_view StateCache::user_of(const Slot& slot) { return {slot.tail->key(), slot.tail->key_size}; }

StateCache::Ticket StateCache::take(std::string_view user, UserItems* items, float* state) {
  const uint32_t hash = hash_of(user);
  const std::lock_guard<std::mutex> lock(mutex_);
  Ticket ticket;
  ticket.drops = drops_[hash % kDropCounters];
  const uint32_t number = find(user, hash);
  if (number == kNone) {
    items->clear();
    return ticket;
  }
  use(number);
  const Slot& found = slot(number);
  ticket.revision = found.revision;
  items->place = found.place;
  items->seen.assign(found.tail->seen(), found.tail->recent());
  items->recent.assign(found.tail->recent(), found.tail->recent() + found.tail->n_recent);
  items->n_new = found.n_new;
  std::copy_n(this->state(number), state_size_, state);
  return ticket;
}

void StateCache::put(std::string_view user, const Ticket& ticket, const UserItems& items, const float* state) {
  if (!is_finite(state, state_size_)) return;
  const uint32_t hash = hash_of(user);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (drops_[hash % kDropCounters] != ticket.drops) return;
  uint32_t number = find(user, hash);
  if (number != kNone) {
    if (slot(number).revision != ticket.revision) return;
    use(number);
  } else {
    const size_t n_bytes =
        sizeof(Tail) + kHeapBytes + Tail::needed(user.size(), items.seen.size() + items.recent.size());
    const int64_t all = static_cast<int64_t>(n_bytes) + slot_bytes(state_size_);
    if (all > max_bytes_) return;
    make_room(all);
    number = insert(hash);
  }
  Slot& kept = slot(number);
  try {
    write_items(&kept, user, items);
  } catch (...) {
    remove(number);
    throw;
  }
  kept.place = items.place;
  kept.revision = ++revision_;
  std::copy_n(state, state_size_, this->state(number));
  make_room(0);
}

bool StateCache::ends_with(std::string_view user, const Place& place) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t number = find(user, hash_of(user));
  return number != kNone && slot(number).place == place;
}

void StateCache::add(std::string_view user, const Place& before, const Place& place, const int32_t* items, int64_t n) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t number = find(user, hash_of(user));
  if (number == kNone || !(slot(number).place == before)) return;
  Slot& found = slot(number);
  if (max_history_) {
    scratch_.recent.assign(found.tail->recent(), found.tail->recent() + found.tail->n_recent);
    scratch_.seen.assign(found.tail->seen(), found.tail->recent());
    scratch_.n_new = found.n_new;
    scratch_.add(items, n, max_history_);
    write_items(&found, user, scratch_);
  } else {
    Tail* tail = found.tail = tail_with_room(found.tail, user, size_t{found.tail->n_seen} + found.tail->n_recent + n);
    for (int64_t j = 0; j < n; ++j) {
      if (items[j] != 0) tail->recent()[tail->n_recent++] = items[j];
    }
    found.n_new = tail->n_recent;
  }
  found.place = place;
  make_room(0);
}

bool StateCache::drop(std::string_view user) {
  const uint32_t hash = hash_of(user);
  const std::lock_guard<std::mutex> lock(mutex_);
  ++drops_[hash % kDropCounters];
  const uint32_t number = find(user, hash);
  if (number == kNone) return false;
  remove(number);
  return true;
}

std::vector<std::string> StateCache::recent_users(int64_t n) const {
  std::vector<std::string> users;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t number = newest_; number != kNone && static_cast<int64_t>(users.size()) < n;) {
    users.emplace_back(user_of(slot(number)));
    number = slot(number).older;
  }
  return users;
}

int64_t StateCache::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return size_;
}

int64_t StateCache::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return counted();
}

int64_t StateCache::counted() const { return size_ * slot_bytes(state_size_) + tail_bytes_; }

int64_t StateCache::evictions() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return evictions_;
}

void StateCache::make_room(int64_t bytes) {
  while (size_ > 0 && counted() + bytes > max_bytes_) {
    remove(oldest_);
    ++evictions_;
  }
}

// A tail with the user's key, the items of `old`, which goes, and room for n_items.
StateCache::Tail* StateCache::tail_with_room(Tail* old, std::string_view user, size_t n_items) {
  const size_t needed = Tail::needed(user.size(), n_items);
  if (old != nullptr && needed <= old->capacity && old->capacity <= 2 * needed + 64) return old;
  // One that grows will grow again.
  const size_t capacity = old == nullptr || needed <= old->capacity ? needed : needed + needed / 8 / 4 * 4 + 16;
  if (capacity > UINT32_MAX) throw std::bad_alloc();
  auto* tail = static_cast<Tail*>(std::malloc(sizeof(Tail) + capacity));
  if (tail == nullptr) throw std::bad_alloc();
  *tail = {static_cast<uint32_t>(capacity), static_cast<uint32_t>(user.size()), 0, 0};
  std::copy(user.begin(), user.end(), tail->key());
  tail_bytes_ += tail->bytes();
  if (old != nullptr) {
    const size_t kept = std::min<size_t>(old->n_seen + old->n_recent, n_items);
    std::copy_n(old->seen(), kept, tail->seen());
    tail->n_seen = static_cast<uint32_t>(std::min<size_t>(old->n_seen, kept));
    tail->n_recent = static_cast<uint32_t>(kept) - tail->n_seen;
    free_tail(old);
  }
  return tail;
}

void StateCache::write_items(Slot* slot, std::string_view user, const UserItems& items) {
  slot->tail = tail_with_room(slot->tail, user, items.seen.size() + items.recent.size());
  slot->tail->n_seen = static_cast<uint32_t>(items.seen.size());
  slot->tail->n_recent = static_cast<uint32_t>(items.recent.size());
  std::copy(items.seen.begin(), items.seen.end(), slot->tail->seen());
  std::copy(items.recent.begin(), items.recent.end(), slot->tail->recent());
  slot->n_new = static_cast<uint32_t>(items.n_new);
}

void StateCache::free_tail(Tail* tail) {
  if (tail == nullptr) return;
  tail_bytes_ -= tail->bytes();
  explicit_bzero(tail, sizeof(Tail) + tail->capacity);
  std::free(tail);
}

uint32_t StateCache::insert(uint32_t hash) {
  if (size_ == blocks_.size() * kBlock) {
    Block block;
    block.slots = std::make_unique<Slot[]>(kBlock);
    block.states.reset(new float[static_cast<size_t>(kBlock * state_size_)]);  // memory is taken as it is written
    blocks_.push_back(std::move(block));
  }
  fit_index(size_ + 1);  // the last that may throw
  const uint32_t number = size_++;
  slot(number) = {{}, 0, nullptr, kNone, kNone, hash, 0};
  index_[index_place(number)] = number + 1;
  link(number);
  return number;
}

void StateCache::remove(uint32_t number) {
  unlink(number);
  unindex(number);
  free_tail(slot(number).tail);
  const uint32_t last = size_ - 1;
  if (number != last) {
    const size_t place = index_place(last);
    const uint32_t newer = slot(last).newer, older = slot(last).older;
    slot(number) = slot(last);
    std::copy_n(state(last), state_size_, state(number));
    index_[place] = number + 1;
    (newer == kNone ? newest_ : slot(newer).older) = number;
    (older == kNone ? oldest_ : slot(older).newer) = number;
  }
  explicit_bzero(state(last), static_cast<size_t>(4 * state_size_));
  --size_;
  if (size_ + 2 * kBlock <= blocks_.size() * kBlock) blocks_.pop_back();
  fit_index(size_);
}

void StateCache::use(uint32_t number) {
  if (number == newest_) return;
  unlink(number);
  link(number);
}

void StateCache::link(uint32_t number) {
  slot(number).newer = kNone;
  slot(number).older = newest_;
  (newest_ == kNone ? oldest_ : slot(newest_).newer) = number;
  newest_ = number;
}

void StateCache::unlink(uint32_t number) {
  const uint32_t newer = slot(number).newer, older = slot(number).older;
  (newer == kNone ? newest_ : slot(newer).older) = older;
  (older == kNone ? oldest_ : slot(older).newer) = newer;
}

uint32_t StateCache::find(std::string_view user, uint32_t hash) const {
  if (index_.empty()) return kNone;
  const size_t mask = index_.size() - 1;
  for (size_t place = hash & mask; index_[place] != 0; place = (place + 1) & mask) {
    const Slot& found = slot(index_[place] - 1);
    if (found.hash == hash && user_of(found) == user) return index_[place] - 1;
  }
  return kNone;
}

// Where in the index a slot's number is, or for a new one is to be.
size_t StateCache::index_place(uint32_t number) const {
  const size_t mask = index_.size() - 1;
  size_t place = slot(number).hash & mask;
  while (index_[place] != 0 && index_[place] != number + 1) place = (place + 1) & mask;
  return place;
}

void StateCache::unindex(uint32_t number) {
  const size_t mask = index_.size() - 1;
  size_t hole = index_place(number);
  index_[hole] = 0;
  // What follows without a gap moves up where it was pushed on by what was here.
  for (size_t place = (hole + 1) & mask; index_[place] != 0; place = (place + 1) & mask) {
    const size_t wanted = slot(index_[place] - 1).hash & mask;
    if (((place - wanted) & mask) < ((place - hole) & mask)) continue;
    index_[hole] = index_[place];
    index_[place] = 0;
    hole = place;
  }
}

// Makes the index of such a size that `n` slots take between a third and two thirds of its places.
void StateCache::fit_index(size_t n) {
  size_t places = std::max(index_.size(), kFewestPlaces);
  while (n * 3 > places * 2) places *= 2;
  while (places > kFewestPlaces && n * 6 < places) places /= 2;
  if (places == index_.size()) return;
  index_.assign(places, 0);
  index_.shrink_to_fit();
  const uint32_t indexed = size_;
  for (uint32_t number = 0; number < indexed; ++number) index_[index_place(number)] = number + 1;
}

}  // namespace recblr
