// Finds items by their ids: an open hash of indices, whose ids are kept elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace recblr {

// At most half full, with linear probing. `same(index)` tells whether the item of that index has the id looked for.
class IndexTable {
 public:
  IndexTable() = default;
  explicit IndexTable(size_t n_items) {
    size_t places = 2;
    while (places < 2 * n_items) places *= 2;
    places_.assign(places, 0);
  }

  // The index inserted under this hash of which `same` is true; 0 if there is none.
  template <typename Same>
  int32_t find(size_t hash, Same&& same) const {
    return places_.empty() ? 0 : places_[place(hash, same)];
  }

  // Inserts an index; if `same` is true of one that is there, leaves that and returns it, else returns 0.
  template <typename Same>
  int32_t insert(size_t hash, int32_t index, Same&& same) {
    int32_t& held = places_[place(hash, same)];
    if (held != 0) return held;
    held = index;
    return 0;
  }

  size_t memory() const { return places_.capacity() * sizeof(int32_t); }

 private:
  // Where it is, or else would be.
  template <typename Same>
  size_t place(size_t hash, Same&& same) const {
    const size_t mask = places_.size() - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
      if (places_[at] == 0 || same(places_[at])) return at;
    }
  }

  std::vector<int32_t> places_;  // a power of two of them; 0: empty
};

}  // namespace recblr
