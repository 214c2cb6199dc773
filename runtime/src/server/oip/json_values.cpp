#include "server/oip/json_values.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "recblr/recblr.hpp"
#include "serving/text.h"

namespace recblr::server {
namespace {

[[noreturn]] void refuse(std::string_view name, int64_t place, const std::string& shown, const char* advice) {
  throw Error({Status::kInvalidArgument, "value " + serving::grouped(place) + " of " + serving::shown(name) + " is " +
                                             shown + ": give " + advice});
}

template <typename Number>
void append(Number number, std::string* bytes) {
  char raw[sizeof number];
  std::memcpy(raw, &number, sizeof number);
  bytes->append(raw, sizeof raw);
}

}  // namespace

void JsonValues::add(int64_t number) {
  if (!count(kInteger, {})) return;
  if (first_[kInteger]->shown.empty()) first_[kInteger]->shown = std::to_string(number);
  if (numbers_.empty()) {
    integers_.push_back(number);
  } else {
    numbers_.push_back(static_cast<double>(number));
  }
}

void JsonValues::add(double number, std::string_view digits) {
  if (!(first_[kNumber] ? count(kNumber, {}) : count(kNumber, serving::shown_number(digits)))) return;
  if (numbers_.empty()) {
    numbers_.assign(integers_.begin(), integers_.end());
    integers_ = std::vector<int64_t>();  // `= {}` would keep its memory
  }
  numbers_.push_back(number);
}

void JsonValues::add(std::string_view text) {
  if (!first_[kString]) {
    count(kString, serving::shown(text));
  } else if (!count(kString, {})) {
    return;
  }
  append(static_cast<uint32_t>(text.size()), &bytes_);
  bytes_ += text;
}

void JsonValues::add_other(std::string_view shown) { count(kOther, shown); }

bool JsonValues::count(Kind kind, std::string_view shown) {
  if (!first_[kind]) first_[kind] = First{size_, std::string(shown)};
  return ++size_ <= most_;
}

void JsonValues::allow(std::string_view name, std::initializer_list<Kind> allowed, const char* advice) const {
  const First* wrong = nullptr;
  for (int kind = 0; kind < kKinds; ++kind) {
    if (!first_[kind] || std::find(allowed.begin(), allowed.end(), kind) != allowed.end()) continue;
    if (wrong == nullptr || first_[kind]->place < wrong->place) wrong = &*first_[kind];
  }
  if (wrong != nullptr) refuse(name, wrong->place, wrong->shown, advice);
}

std::string_view JsonValues::bytes(std::string_view name, std::string_view datatype) {
  if (datatype == "INT64") {
    allow(name, {kInteger}, "whole numbers of 64 bits");
    return {reinterpret_cast<const char*>(integers_.data()), integers_.size() * sizeof(int64_t)};
  }
  if (datatype == "INT32") {
    allow(name, {kInteger}, "whole numbers of 64 bits");
    return int32_bytes(name);
  }
  if (datatype == "FP32") {
    allow(name, {kInteger, kNumber}, "numbers");
    return float_bytes();
  }
  if (datatype != "BYTES") return {};
  allow(name, {kString}, "strings");
  return bytes_;
}

std::string_view JsonValues::int32_bytes(std::string_view name) {
  bytes_.reserve(integers_.size() * sizeof(int32_t));
  for (size_t j = 0; j < integers_.size(); ++j) {
    const int64_t number = integers_[j];
    if (number != static_cast<int32_t>(number)) {
      refuse(name, static_cast<int64_t>(j), std::to_string(number), "numbers of 32 bits, or INT64");
    }
    append(static_cast<int32_t>(number), &bytes_);
  }
  return bytes_;
}

std::string_view JsonValues::float_bytes() {
  bytes_.reserve((integers_.size() + numbers_.size()) * sizeof(float));
  for (const int64_t number : integers_) append(static_cast<float>(static_cast<double>(number)), &bytes_);
  for (const double number : numbers_) append(static_cast<float>(number), &bytes_);
  return bytes_;
}

}  // namespace recblr::server
