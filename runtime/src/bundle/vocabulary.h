// The item ids of a catalogue, all integers or all strings, in order of the model's indices 1 to V, with popularity.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace recblr {

// Immutable; threads may share it. Memory of an item: its integer's 8 bytes, or its string's and 8 of an offset; 8 of
// its count, 4 of its place in the popular order; 8 to 16 in a hash, or for integers that lie close together at most 32
// in a table.
class Vocabulary {
 public:
  // From items.json: {"id_type": "integer" | "string", "ids": [...], "counts": [...]}. `path` is for messages. Throws
  // Error(kBundle): no such JSON, ids of several types, an integer beyond int64, an id twice, counts that do not fit.
  static std::unique_ptr<const Vocabulary> parse(std::string_view json, const std::string& path);
  ~Vocabulary();

  IdType type() const;
  int64_t n_items() const;

  // The index of one id, 1 to V; 0 for one that is not known, or that can be no id of this model.
  int32_t index(int64_t id) const;
  int32_t index(std::string_view id) const;

  // Whether a text can be an id of this model: any can for strings; for integers those in canonical decimal form, of at
  // most 100 digits.
  bool can_be_id(std::string_view id) const;

  // Appends the indices of a row's known ids to `indices`, in order, and returns how many others were skipped. No id of
  // this model can be a stranger, or for an integer model a text that `can_be_id` refuses: if none of the row's ids is
  // known and one is such, throws Error(kInvalidArgument) as recblr.vocabulary's `encode` words it, "item id 'A-1' is
  // of type str, the model's item ids are integers such as 1, and it knows none of those given: give integers, or text
  // such as \"25\"". The first such one of the row is named.
  int64_t encode_row(const Ids& ids, int64_t row, std::vector<int32_t>* indices) const;

  // The id of index 1 to V.
  int64_t integer(int32_t index) const;          // of an integer vocabulary
  std::string_view string(int32_t index) const;  // of a string vocabulary; a NUL is behind; valid as long as this

  // [V] indices, the most popular first, equally popular ones by index.
  const std::vector<int32_t>& popular() const;
  int64_t count(int32_t index) const;

  // Bytes that it holds.
  int64_t memory() const;

 private:
  Vocabulary();
  void check_strangers(const Ids& ids, int64_t begin, int64_t end, const Strangers* strangers) const;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
