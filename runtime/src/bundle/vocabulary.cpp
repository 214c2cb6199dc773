#include "bundle/vocabulary.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "bundle/file.h"
#include "bundle/index_table.h"
#include "bundle/items_json.h"

namespace recblr {

namespace {

// Integer ids are looked up in a table where it has at most so many places for an item.
constexpr uint64_t kPlacesPerItem = 8;
constexpr size_t kMostDigits = 100;
constexpr int64_t kMostItems = 2147483646;  // indices are int32

bool is_canonical(std::string_view text) {
  if (text == "0") return true;
  if (!text.empty() && text[0] == '-') text.remove_prefix(1);
  if (text.empty() || text.size() > kMostDigits || text[0] == '0') return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

size_t hash_of(int64_t id) {  // the last steps of splitmix64: ids that differ in any bits go far apart
  uint64_t bits = static_cast<uint64_t>(id);
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return static_cast<size_t>(bits ^ bits >> 31);
}

size_t hash_of(std::string_view id) { return std::hash<std::string_view>()(id); }

template <typename T>
int64_t bytes_of(const std::vector<T>& values) {
  return static_cast<int64_t>(values.capacity() * sizeof(T));
}

std::string type_name(IdType type) { return type == IdType::kInteger ? "integer" : "string"; }

}  // namespace

struct Vocabulary::Parts {
  IdType type = IdType::kInteger;
  std::vector<int64_t> integers;  // [V], of an integer vocabulary
  std::string text;               // of a string vocabulary, all ids one after another, each with a NUL behind
  std::vector<uint64_t> offsets;  // [V + 1] in it
  std::vector<int64_t> counts;    // [V]
  std::vector<int32_t> popular;   // [V]
  std::vector<int32_t> table;     // index by id - least, 0 where there is none; empty where there is a hash
  int64_t least = 0;
  IndexTable hash;

  int64_t n_items() const { return static_cast<int64_t>(counts.size()); }

  std::string_view string(int32_t index) const {
    const uint64_t begin = offsets[static_cast<size_t>(index) - 1];
    return std::string_view(text).substr(begin, offsets[static_cast<size_t>(index)] - 1 - begin);
  }

  int64_t integer(int32_t index) const { return integers[static_cast<size_t>(index) - 1]; }

  int32_t find(int64_t id) const {
    if (!table.empty()) {
      const uint64_t place = static_cast<uint64_t>(id) - static_cast<uint64_t>(least);
      return place < table.size() ? table[place] : 0;
    }
    return hash.find(hash_of(id), [&](int32_t index) { return integer(index) == id; });
  }

  int32_t find(std::string_view id) const {
    return hash.find(hash_of(id), [&](int32_t index) { return string(index) == id; });
  }

  // An id for messages.
  std::string shown_id(int32_t index) const {
    return type == IdType::kInteger ? std::to_string(integer(index)) : shown(string(index));
  }

  // Makes what looks ids up. Returns the first that occurs again, as an index, or 0.
  int32_t make_index() {
    const int32_t n = static_cast<int32_t>(n_items());
    int32_t twice = 0;
    const auto note = [&](int32_t earlier) {
      if (earlier != 0 && (twice == 0 || earlier < twice)) twice = earlier;
    };
    if (type == IdType::kString) {
      hash = IndexTable(static_cast<size_t>(n));
      for (int32_t index = 1; index <= n; ++index) {
        const std::string_view id = string(index);
        note(hash.insert(hash_of(id), index, [&](int32_t other) { return string(other) == id; }));
      }
      return twice;
    }
    const auto [first, last] = std::minmax_element(integers.begin(), integers.end());
    least = *first;
    const uint64_t range = static_cast<uint64_t>(*last) - static_cast<uint64_t>(least);
    if (range < kPlacesPerItem * (static_cast<uint64_t>(n) + 1)) {
      table.assign(range + 1, 0);
      for (int32_t index = 1; index <= n; ++index) {
        int32_t& place = table[static_cast<uint64_t>(integer(index)) - static_cast<uint64_t>(least)];
        note(place);
        if (place == 0) place = index;
      }
      return twice;
    }
    hash = IndexTable(static_cast<size_t>(n));
    for (int32_t index = 1; index <= n; ++index) {
      const int64_t id = integer(index);
      note(hash.insert(hash_of(id), index, [&](int32_t other) { return integer(other) == id; }));
    }
    return twice;
  }

  void order_by_popularity() {
    popular.resize(counts.size());
    std::iota(popular.begin(), popular.end(), 1);
    std::sort(popular.begin(), popular.end(), [&](int32_t a, int32_t b) {
      const int64_t of_a = counts[static_cast<size_t>(a) - 1], of_b = counts[static_cast<size_t>(b) - 1];
      return of_a != of_b ? of_a > of_b : a < b;
    });
  }

  // What is wrong with the lists, as recblr.vocabulary words it; empty if nothing is, and then takes them.
  std::string take(ItemsJson&& items) {
    if (!items.is_complete) return "no item vocabulary: it needs id_type, ids and counts; write it again";
    if (!items.ids.is_list || !items.counts.is_list) {
      return "no item vocabulary: ids and counts must be lists; write it again";
    }
    if (items.ids.size == 0) return "a vocabulary without items: give at least one item id";
    if (items.ids.size > kMostItems)
      return "there are " + grouped(items.ids.size) + " items: there may be 2,147,483,646";
    if (items.ids.has_only(JsonType::kStr)) {
      type = IdType::kString;
    } else if (!items.ids.has_only(JsonType::kInt)) {
      std::string names;
      for (size_t kind = 0; kind < kJsonTypes.size(); ++kind) {
        if (items.ids.types[kind]) names += (names.empty() ? "" : ", ") + std::string(kJsonTypes[kind]);
      }
      return "item ids of type " + names + ": give only Python integers, or only strings";
    }
    if (!items.ids.beyond.empty()) {
      return "item id " + items.ids.beyond.substr(0, 60) +
             " is beyond 64 bits: make the ids strings, by --id-type string";
    }
    integers = std::move(items.ids.integers);
    text = std::move(items.text);
    offsets = std::move(items.text_offsets);
    std::string fault = take_counts(std::move(items.counts), items.ids.size);
    if (const int32_t twice = fault.empty() ? make_index() : 0; twice != 0) {
      fault = "item id " + shown_id(twice) + " occurs more than once: each item needs its own id";
    }
    if (fault.empty() && items.id_type != type_name(type)) {
      fault = "id_type is " + (items.id_type ? shown(*items.id_type) : "no string") + ", but the ids are " +
              type_name(type) + "s";
    }
    return fault;
  }

  std::string take_counts(JsonList&& list, int64_t n_items) {
    if (list.size != n_items || !list.has_only(JsonType::kInt) || !list.beyond.empty()) {
      std::string kind = list.beyond.empty() ? "int64" : "object";
      for (size_t other = 0; other < kJsonTypes.size(); ++other) {
        if (list.types[other] && other != static_cast<size_t>(JsonType::kInt)) kind = kJsonTypes[other];
      }
      return "item counts of shape (" + std::to_string(list.size) + ",) and type " + kind + ": give " +
             std::to_string(n_items) + " whole numbers, one per item";
    }
    counts = std::move(list.integers);
    const int64_t fewest = *std::min_element(counts.begin(), counts.end());
    if (fewest < 0) return "an item count is " + std::to_string(fewest) + ": counts are at least 0";
    return "";
  }
};

Vocabulary::Vocabulary() : parts_(std::make_unique<Parts>()) {}
Vocabulary::~Vocabulary() = default;

std::unique_ptr<const Vocabulary> Vocabulary::parse(std::string_view json, const std::string& path) {
  std::optional<ItemsJson> items = read_items_json(json);
  if (!items) refuse(Code::kBundle, path + " is damaged, it holds no JSON: " + kCopyAgain);
  std::unique_ptr<Vocabulary> vocabulary(new Vocabulary);
  Parts& parts = *vocabulary->parts_;
  if (const std::string fault = parts.take(std::move(*items)); !fault.empty()) {
    refuse(Code::kBundle, path + ": " + fault + "; " + kCopyAgain);
  }
  items.reset();
  parts.order_by_popularity();
  parts.integers.shrink_to_fit();
  parts.text.shrink_to_fit();
  parts.offsets.shrink_to_fit();
  parts.counts.shrink_to_fit();
  return vocabulary;
}

IdType Vocabulary::type() const { return parts_->type; }
int64_t Vocabulary::n_items() const { return parts_->n_items(); }

int32_t Vocabulary::index(int64_t id) const {
  if (parts_->type == IdType::kInteger) return parts_->find(id);
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), id).ptr;
  return parts_->find(std::string_view(digits, static_cast<size_t>(end - digits)));
}

int32_t Vocabulary::index(std::string_view id) const {
  if (parts_->type == IdType::kString) return parts_->find(id);
  int64_t number = 0;
  if (!is_canonical(id) || std::from_chars(id.data(), id.data() + id.size(), number).ec != std::errc()) return 0;
  return parts_->find(number);
}

bool Vocabulary::can_be_id(std::string_view id) const { return parts_->type == IdType::kString || is_canonical(id); }

int64_t Vocabulary::encode_row(const Ids& ids, int64_t row, std::vector<int32_t>* indices) const {
  const int64_t begin = ids.offsets[row], end = ids.offsets[row + 1];
  const size_t known_before = indices->size();
  for (int64_t j = begin; j < end; ++j) {
    const int32_t found = ids.type == IdType::kInteger ? index(ids.integers[j]) : index(ids.string(j));
    if (found != 0) indices->push_back(found);
  }
  const int64_t known = static_cast<int64_t>(indices->size() - known_before);
  const Strangers* const last = ids.strangers + ids.n_strangers;
  const Strangers* strangers =
      std::lower_bound(ids.strangers, last, row, [](const Strangers& one, int64_t wanted) { return one.row < wanted; });
  if (strangers == last || strangers->row != row) strangers = nullptr;
  if (known == 0) check_strangers(ids, begin, end, strangers);
  return end - begin - known + (strangers == nullptr ? 0 : strangers->count);
}

void Vocabulary::check_strangers(const Ids& ids, int64_t begin, int64_t end, const Strangers* strangers) const {
  std::string first, type = "str", advice;
  const int64_t before = strangers == nullptr ? end - begin : std::min(strangers->before, end - begin);
  for (int64_t j = begin; j < begin + before && ids.type == IdType::kString && first.empty(); ++j) {
    if (!can_be_id(ids.string(j))) first = shown(ids.string(j));
  }
  if (first.empty()) {
    if (strangers == nullptr) return;
    first = strangers->shown;
    type = strangers->type;
    if (strangers->advice != nullptr) advice = strangers->advice;
  }
  if (advice.empty()) {
    advice = parts_->type == IdType::kInteger ? "integers, or text such as \"25\"" : "strings, or integers";
  }
  refuse(Code::kInvalidArgument, "item id " + first + " is of type " + type + ", the model's item ids are " +
                                     type_name(parts_->type) + "s such as " + parts_->shown_id(1) +
                                     ", and it knows none of those given: give " + advice);
}

int64_t Vocabulary::integer(int32_t index) const { return parts_->integer(index); }
std::string_view Vocabulary::string(int32_t index) const { return parts_->string(index); }
const std::vector<int32_t>& Vocabulary::popular() const { return parts_->popular; }
int64_t Vocabulary::count(int32_t index) const { return parts_->counts[static_cast<size_t>(index) - 1]; }

int64_t Vocabulary::memory() const {
  return bytes_of(parts_->integers) + static_cast<int64_t>(parts_->text.capacity()) + bytes_of(parts_->offsets) +
         bytes_of(parts_->counts) + bytes_of(parts_->popular) + bytes_of(parts_->table) +
         static_cast<int64_t>(parts_->hash.memory());
}

}  // namespace recblr
