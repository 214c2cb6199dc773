#include "serving/id_rows.h"

#include <charconv>
#include <cstring>

namespace recblr::serving {

void IdRows::add(std::string_view id) {
  if (!strings_) make_strings();
  text_ += id;
  text_offsets_.push_back(static_cast<int64_t>(text_.size()));
  ++n_ids_;
}

void IdRows::add_integers(const char* bytes, int64_t count) {
  if (count == 0) return;
  if (!strings_) {
    const size_t before = integers_.size();
    integers_.resize(before + static_cast<size_t>(count));
    std::memcpy(integers_.data() + before, bytes, static_cast<size_t>(count) * sizeof(int64_t));
    n_ids_ += count;
    return;
  }
  for (int64_t j = 0; j < count; ++j) {
    int64_t id;
    std::memcpy(&id, bytes + j * static_cast<int64_t>(sizeof id), sizeof id);
    add_decimal(id);
  }
}

void IdRows::clear() {
  strings_ = false;
  n_ids_ = 0;
  offsets_.resize(1);
  integers_.clear();
  text_.clear();
  text_offsets_.resize(1);
}

size_t IdRows::kept_bytes() const {
  return (offsets_.capacity() + integers_.capacity() + text_offsets_.capacity()) * sizeof(int64_t) + text_.capacity();
}

recblr_ids IdRows::view() const {
  recblr_ids ids{};
  ids.type = strings_ ? RECBLR_STRING_IDS : RECBLR_INTEGER_IDS;
  ids.n_rows = n_rows();
  ids.offsets = offsets_.data();
  ids.integers = strings_ ? nullptr : integers_.data();
  ids.text = strings_ ? text_.data() : nullptr;
  ids.text_offsets = strings_ ? text_offsets_.data() : nullptr;
  return ids;
}

void IdRows::add_decimal(int64_t id) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, id).ptr;
  add(std::string_view(digits, static_cast<size_t>(end - digits)));
}

void IdRows::make_strings() {
  strings_ = true;
  n_ids_ = 0;
  for (const int64_t id : integers_) add_decimal(id);
  integers_.clear();
}

}  // namespace recblr::serving
