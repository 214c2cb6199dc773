#include "bundle/items_json.h"

#include <nlohmann/json.hpp>

namespace recblr {

namespace {

using nlohmann::json;

// What the parser calls for each value, in the order of the text. A key that comes again counts anew.
class Reader : public nlohmann::json_sax<json> {
 public:
  ItemsJson take() {
    items_.is_complete = seen_[kIdType] && seen_[kIds] && seen_[kCounts];
    return std::move(items_);
  }

  bool null() override { return scalar(JsonType::kNone); }
  bool boolean(bool) override { return scalar(JsonType::kBool); }
  bool number_integer(int64_t number) override { return integer(number); }
  bool number_unsigned(uint64_t number) override {
    return number <= INT64_MAX ? integer(static_cast<int64_t>(number)) : beyond(std::to_string(number));
  }
  bool number_float(double, const std::string& text) override {
    return text.find_first_of(".eE") == std::string::npos ? beyond(text) : scalar(JsonType::kFloat);
  }
  bool string(std::string& text) override {
    if (depth_ == 1 && key_ == kIdType) items_.id_type = text;
    if (depth_ == 2 && list_ == &items_.ids) {
      (items_.text += text) += '\0';
      items_.text_offsets.push_back(items_.text.size());
    }
    return scalar(JsonType::kStr);
  }
  bool binary(binary_t&) override { return false; }  // which JSON has not

  bool start_object(size_t) override { return start(JsonType::kDict); }
  bool key(std::string& name) override {
    if (depth_ == 1 && is_object_) start_key(name);
    return true;
  }
  bool end_object() override { return end(); }
  bool start_array(size_t) override { return start(JsonType::kList); }
  bool end_array() override { return end(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  enum Key : size_t { kIdType, kIds, kCounts, kOther };

  void start_key(const std::string& name) {
    key_ = name == "id_type" ? kIdType : name == "ids" ? kIds : name == "counts" ? kCounts : kOther;
    seen_[key_] = true;
    if (key_ == kIdType) items_.id_type.reset();
    if (key_ == kIds) {
      items_.ids = {};
      items_.text.clear();
      items_.text_offsets.assign(1, 0);
    }
    if (key_ == kCounts) items_.counts = {};
  }

  bool start(JsonType type) {
    if (depth_ == 0) is_object_ = type == JsonType::kDict;
    if (depth_ == 1 && is_object_ && type == JsonType::kList && (key_ == kIds || key_ == kCounts)) {
      list_ = key_ == kIds ? &items_.ids : &items_.counts;
      list_->is_list = true;
    } else {
      scalar(type);
    }
    ++depth_;
    return true;
  }

  bool end() {
    if (--depth_ == 1) list_ = nullptr;
    return true;
  }

  // A value that is no list of ours; what lies deeper than in one is of no interest.
  bool scalar(JsonType type) {
    if (depth_ == 2 && list_ != nullptr) {
      ++list_->size;
      list_->types[static_cast<size_t>(type)] = true;
    }
    return true;
  }

  bool integer(int64_t number) {
    if (depth_ == 2 && list_ != nullptr) list_->integers.push_back(number);
    return scalar(JsonType::kInt);
  }

  bool beyond(const std::string& number) {
    if (depth_ == 2 && list_ != nullptr && list_->beyond.empty()) list_->beyond = number;
    return scalar(JsonType::kInt);
  }

  ItemsJson items_;
  size_t depth_ = 0;
  bool is_object_ = false;  // the whole is one
  Key key_ = kOther;        // whose value is read
  std::array<bool, 4> seen_{};
  JsonList* list_ = nullptr;  // inside of it
};

}  // namespace

bool JsonList::has_only(JsonType type) const {
  for (size_t other = 0; other < types.size(); ++other) {
    if (types[other] != (other == static_cast<size_t>(type))) return false;
  }
  return true;
}

std::optional<ItemsJson> read_items_json(std::string_view text) {
  Reader reader;
  if (!json::sax_parse(text.begin(), text.end(), &reader)) return std::nullopt;
  return reader.take();
}

}  // namespace recblr
