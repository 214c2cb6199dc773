// Rows of ids with the memory that `Ids` and `recblr_ids` are views of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "recblr/recblr.h"

namespace recblr::tests {

using Integers = std::vector<std::vector<int64_t>>;
using Strings = std::vector<std::vector<std::string>>;

class IdRows {
 public:
  explicit IdRows(const Integers& rows) {
    for (const auto& row : rows) {
      integers_.insert(integers_.end(), row.begin(), row.end());
      offsets_.push_back(static_cast<int64_t>(integers_.size()));
    }
  }
  explicit IdRows(const Strings& rows) : type_(IdType::kString) {
    for (const auto& row : rows) {
      for (const std::string& id : row) {
        text_ += id;
        text_offsets_.push_back(static_cast<int64_t>(text_.size()));
      }
      offsets_.push_back(static_cast<int64_t>(text_offsets_.size()) - 1);
    }
  }

  Ids ids() const {
    Ids ids;
    ids.type = type_;
    ids.n_rows = static_cast<int64_t>(offsets_.size()) - 1;
    ids.offsets = offsets_.data();
    ids.integers = integers_.data();
    ids.text = text_.data();
    ids.text_offsets = text_offsets_.data();
    return ids;
  }
  recblr_ids c() const {
    const Ids view = ids();
    return {static_cast<int32_t>(type_),
            view.n_rows,
            view.offsets,
            view.integers,
            view.text,
            view.text_offsets,
            nullptr,
            0};
  }

 private:
  IdType type_ = IdType::kInteger;
  std::vector<int64_t> offsets_ = {0}, integers_, text_offsets_ = {0};
  std::string text_;
};

}  // namespace recblr::tests
