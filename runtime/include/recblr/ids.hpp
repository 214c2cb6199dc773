// Ids: rows of items' ids to be given to the library, and single ones of users, events and items; a part of
// recblr.hpp.
#ifndef RECBLR_IDS_HPP_
#define RECBLR_IDS_HPP_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
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

// An id of a user, of an event or of an item in a history: an integer, or a view of a string. 25 and "25" are two
// users.
class Id {
 public:
  // Any integer type whose values int64_t holds; bool and char are none.
  template <typename Integer, std::enable_if_t<std::is_integral_v<Integer> && !std::is_same_v<Integer, bool> &&
                                                   !std::is_same_v<Integer, char> &&
                                                   (std::is_signed_v<Integer> || sizeof(Integer) < sizeof(int64_t)),
                                               int> = 0>
  Id(Integer integer) : id_{RECBLR_INTEGER_IDS, integer, nullptr, 0} {}
  // What std::string_view can be made of.
  template <typename String, std::enable_if_t<std::is_convertible_v<const String&, std::string_view>, int> = 0>
  Id(const String& string) : Id(RECBLR_STRING_IDS, string) {}
  // An integer beyond 64 bits, in decimal form.
  static Id big_integer(std::string_view decimal) { return Id(RECBLR_INTEGER_IDS, decimal); }
  explicit Id(const recblr_id& id) : id_(id) {}

  bool is_string() const { return id_.type == RECBLR_STRING_IDS; }
  bool is_big_integer() const { return !is_string() && id_.text != nullptr; }
  int64_t integer() const { return id_.integer; }                                        // where it is neither of them
  std::string_view text() const { return {id_.text, static_cast<size_t>(id_.length)}; }  // where it is one of them
  const recblr_id& c() const { return id_; }

  friend bool operator==(const Id& a, const Id& b) {
    return a.id_.type == b.id_.type && a.integer() == b.integer() && a.text() == b.text();
  }
  friend bool operator!=(const Id& a, const Id& b) { return !(a == b); }

 private:
  // A string is told from an integer by its text, which is there even where it is empty.
  Id(int32_t type, std::string_view text)
      : id_{type, 0, text.data() == nullptr ? "" : text.data(), static_cast<int64_t>(text.size())} {}

  recblr_id id_;
};

// Ids that the library gave; they are valid as long as it is.
class IdList {
 public:
  static Expected<IdList> try_create() {
    recblr_id_list* list = nullptr;
    const recblr_status status = recblr_id_list_create(&list);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return IdList(list);
  }
  size_t size() const { return static_cast<size_t>(recblr_id_list_size(handle())); }
  bool empty() const { return size() == 0; }
  Id operator[](size_t j) const { return Id(recblr_id_list_ids(handle())[j]); }
  recblr_id_list* handle() const { return handle_.get(); }

 private:
  explicit IdList(recblr_id_list* list) : handle_(list) {}
  std::unique_ptr<recblr_id_list, detail::Freeing<recblr_id_list_free>> handle_;
};

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_IDS_HPP_
