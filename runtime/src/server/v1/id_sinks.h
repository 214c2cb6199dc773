// Where the ids of bodies go.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/recblr.hpp"
#include "server/v1/body_reader.h"
#include "serving/id_rows.h"

namespace recblr::server {

// To rows of item ids, which an optional has once they are given.
class RowsSink : public IdSink {
 public:
  explicit RowsSink(serving::IdRows* rows) : rows_(rows) {}
  explicit RowsSink(std::optional<serving::IdRows>* optional) : optional_(optional) {}
  void begin() override {
    if (optional_ != nullptr) rows_ = &optional_->emplace();
  }
  void add(int64_t id) override { rows_->add(id); }
  void add(std::string_view id) override { rows_->add(id); }
  void add_big_integer(std::string_view decimal) override { rows_->add_big_integer(decimal); }
  void end_row() override { rows_->end_row(); }

 private:
  std::optional<serving::IdRows>* optional_ = nullptr;
  serving::IdRows* rows_ = nullptr;
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
  explicit OwnedIdsSink(std::vector<OwnedId>* ids = nullptr) : ids_(ids) {}
  void redirect(std::vector<OwnedId>* ids) { ids_ = ids; }
  bool is_given() const { return is_given_; }
  void begin() override { is_given_ = true; }
  void add(int64_t id) override { ids_->push_back({OwnedId::Kind::kInteger, id, {}}); }
  void add(std::string_view id) override { ids_->push_back({OwnedId::Kind::kString, 0, std::string(id)}); }
  void add_big_integer(std::string_view decimal) override {
    ids_->push_back({OwnedId::Kind::kBigInteger, 0, std::string(decimal)});
  }

 private:
  std::vector<OwnedId>* ids_;
  bool is_given_ = false;
};

}  // namespace recblr::server
