// Where the ids of bodies go.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/recblr.hpp"
#include "server/v1/body_reader.h"
#include "serving/id_rows.h"
#include "serving/limits.h"

namespace recblr::server {

// What of a request's ids and rows is kept while it is read: beyond the limits they are counted alone, as a body has
// room for many more of them than memory has.
class IdCount {
 public:
  explicit IdCount(const serving::QuestionLimits& limits) : most_ids_(limits.max_ids), most_rows_(limits.max_users) {}
  // Whether one more is to be kept.
  bool add_id() { return ++n_ids_ <= most_ids_; }
  // `n_rows` of one list, this one included.
  bool add_row(int64_t n_rows) {
    n_rows_ = std::max(n_rows_, n_rows);
    return n_rows <= most_rows_;
  }
  int64_t n_ids() const { return n_ids_; }
  // In the words of serving::check_limits; `rows` are called so.
  Expected<void> check(const char* rows) const {
    if (n_rows_ > most_rows_) return serving::too_many(n_rows_, rows, most_rows_);
    if (n_ids_ > most_ids_) return serving::too_many(n_ids_, "item ids", most_ids_);
    return {};
  }

 private:
  const int64_t most_ids_, most_rows_;
  int64_t n_ids_ = 0, n_rows_ = 0;
};

// To rows of item ids, which an optional has once they are given.
class RowsSink : public IdSink {
 public:
  RowsSink(serving::IdRows* rows, IdCount* count) : rows_(rows), count_(count) {}
  RowsSink(std::optional<serving::IdRows>* optional, IdCount* count) : optional_(optional), count_(count) {}
  void begin() override {
    if (optional_ != nullptr) rows_ = &optional_->emplace();
  }
  void add(int64_t id) override {
    if (count_->add_id()) rows_->add(id);
  }
  void add(std::string_view id) override {
    if (count_->add_id()) rows_->add(id);
  }
  void add_big_integer(std::string_view decimal) override {
    if (count_->add_id()) rows_->add_big_integer(decimal);
  }
  void end_row() override {
    if (count_->add_row(++n_rows_)) rows_->end_row();
  }

 private:
  std::optional<serving::IdRows>* optional_ = nullptr;
  serving::IdRows* rows_ = nullptr;
  IdCount* const count_;
  int64_t n_rows_ = 0;
};

// An id as it was given, which histories tell from others of the same text.
struct OwnedId {
  enum class Kind { kInteger, kBigInteger, kString };
  Kind kind = Kind::kInteger;
  int64_t integer = 0;
  std::string text;

  Id view() const {
    if (kind == Kind::kInteger) return Id(integer);
    return kind == Kind::kString ? Id(text) : Id::big_integer(text);
  }
};

// To a list of ids, one after another.
class OwnedIdsSink : public IdSink {
 public:
  explicit OwnedIdsSink(IdCount* count, std::vector<OwnedId>* ids = nullptr) : count_(count), ids_(ids) {}
  void redirect(std::vector<OwnedId>* ids) { ids_ = ids; }
  bool is_given() const { return is_given_; }
  void begin() override { is_given_ = true; }
  void add(int64_t id) override {
    if (count_->add_id()) ids_->push_back({OwnedId::Kind::kInteger, id, {}});
  }
  void add(std::string_view id) override {
    if (count_->add_id()) ids_->push_back({OwnedId::Kind::kString, 0, std::string(id)});
  }
  void add_big_integer(std::string_view decimal) override {
    if (count_->add_id()) ids_->push_back({OwnedId::Kind::kBigInteger, 0, std::string(decimal)});
  }

 private:
  IdCount* const count_;
  std::vector<OwnedId>* ids_;
  bool is_given_ = false;
};

}  // namespace recblr::server
