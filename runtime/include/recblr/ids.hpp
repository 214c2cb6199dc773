// Rows of item ids, to be given to the library; a part of recblr.hpp.
#ifndef RECBLR_IDS_HPP_
#define RECBLR_IDS_HPP_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/expected.hpp"
#include "recblr/recblr.h"

namespace recblr {
inline namespace RECBLR_CLIENT {

// Rows of integer ids, to be filled again and again.
class IntegerIds {
 public:
  void add_row(Span<const int64_t> ids) {
    integers_.insert(integers_.end(), ids.begin(), ids.end());
    offsets_.push_back(static_cast<int64_t>(integers_.size()));
  }
  void add_row(std::initializer_list<int64_t> ids) { add_row(Span<const int64_t>(ids.begin(), ids.size())); }
  void clear() {
    integers_.clear();
    offsets_.assign(1, 0);
  }
  size_t n_rows() const { return offsets_.size() - 1; }
  // Valid until the next change.
  recblr_ids view() const {
    return {RECBLR_INTEGER_IDS,
            static_cast<int64_t>(n_rows()),
            offsets_.data(),
            integers_.data(),
            nullptr,
            nullptr,
            nullptr,
            0};
  }
  operator recblr_ids() const { return view(); }

 private:
  std::vector<int64_t> integers_, offsets_ = {0};
};

// Rows of string ids, in UTF-8.
class StringIds {
 public:
  // `ids` is a range of what std::string_view can be made of.
  template <typename Range>
  void add_row(const Range& ids) {
    for (const std::string_view id : ids) {
      text_.append(id);
      text_offsets_.push_back(static_cast<int64_t>(text_.size()));
    }
    offsets_.push_back(static_cast<int64_t>(text_offsets_.size()) - 1);
  }
  void add_row(std::initializer_list<std::string_view> ids) { add_row<std::initializer_list<std::string_view>>(ids); }
  void clear() {
    text_.clear();
    text_offsets_.assign(1, 0);
    offsets_.assign(1, 0);
  }
  size_t n_rows() const { return offsets_.size() - 1; }
  recblr_ids view() const {
    return {RECBLR_STRING_IDS, static_cast<int64_t>(n_rows()), offsets_.data(), nullptr,
            text_.data(),      text_offsets_.data(),           nullptr,         0};
  }
  operator recblr_ids() const { return view(); }

 private:
  std::string text_;
  std::vector<int64_t> text_offsets_ = {0}, offsets_ = {0};
};

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_IDS_HPP_
