// Bundles, and items of theirs to choose from; a part of recblr.hpp.
#ifndef RECBLR_BUNDLE_HPP_
#define RECBLR_BUNDLE_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/expected.hpp"
#include "recblr/recblr.h"

namespace recblr {
inline namespace RECBLR_CLIENT {

// An item of the catalogue.
struct Item {
  int64_t integer = 0;    // its id, where ids are integers
  std::string_view text;  // its id, where they are strings
  int64_t count = 0;      // how often the training data holds it
};

// The model's indices of known ids: row b's are indices[offsets[b]] to indices[offsets[b + 1] - 1].
struct EncodedIds {
  std::vector<int32_t> indices;
  std::vector<int64_t> offsets, unknown;
};

class Bundle {
 public:
  static Expected<Bundle> try_open(const std::string& path) {
    recblr_bundle* bundle = nullptr;
    const recblr_status status = recblr_bundle_open(path.c_str(), &bundle);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return Bundle(bundle);
  }

  std::string_view path() const { return recblr_bundle_path(handle()); }
  std::string_view manifest() const { return recblr_bundle_manifest(handle()); }
  std::string_view fingerprint() const { return recblr_bundle_fingerprint(handle()); }
  int64_t n_items() const { return recblr_bundle_n_items(handle()); }
  int64_t state_size() const { return recblr_bundle_state_size(handle()); }
  int64_t dim() const { return recblr_bundle_dim(handle()); }
  bool has_string_ids() const { return recblr_bundle_id_type(handle()) == RECBLR_STRING_IDS; }
  Span<const float> initial_state() const {
    return {recblr_bundle_initial_state(handle()), static_cast<size_t>(state_size())};
  }
  // The item of an index from 1 to n_items().
  Expected<Item> try_item(int32_t index) const {
    Item item;
    const char* text = nullptr;
    int64_t length = 0;
    const recblr_status status = recblr_bundle_item(handle(), index, &item.integer, &text, &length, &item.count);
    if (status != RECBLR_OK) return detail::last_failure(status);
    if (text != nullptr) item.text = {text, static_cast<size_t>(length)};
    return item;
  }
  Expected<EncodedIds> try_encode(const recblr_ids& ids, const char* name = "ids") const {
    EncodedIds encoded;
    const bool is_valid = ids.n_rows > 0 && ids.offsets != nullptr;
    const int64_t count = is_valid ? ids.offsets[ids.n_rows] : 0;
    encoded.indices.resize(static_cast<size_t>(count < 0 ? 0 : count));
    encoded.offsets.resize(is_valid ? static_cast<size_t>(ids.n_rows) + 1 : 1);
    encoded.unknown.resize(encoded.offsets.size() - 1);
    const recblr_status status = recblr_bundle_encode(handle(), &ids, name, encoded.indices.data(),
                                                      encoded.offsets.data(), encoded.unknown.data());
    if (status != RECBLR_OK) return detail::last_failure(status);
    encoded.indices.resize(static_cast<size_t>(encoded.offsets.back()));
    return encoded;
  }
#if defined(__cpp_exceptions)
  explicit Bundle(const std::string& path) : Bundle(detail::value_or_throw(try_open(path))) {}
  Item item(int32_t index) const { return detail::value_or_throw(try_item(index)); }
  EncodedIds encode(const recblr_ids& ids, const char* name = "ids") const {
    return detail::value_or_throw(try_encode(ids, name));
  }
#endif
  recblr_bundle* handle() const { return handle_.get(); }

 private:
  explicit Bundle(recblr_bundle* bundle) : handle_(bundle) {}
  std::unique_ptr<recblr_bundle, detail::Freeing<recblr_bundle_free>> handle_;
};

// Items to choose from, looked up once for many requests.
class AllowList {
 public:
  // `ids` are one row.
  static Expected<AllowList> try_create(const recblr_ids& ids) {
    recblr_allow_list* list = nullptr;
    const recblr_status status = recblr_allow_list_create(&ids, &list);
    if (status != RECBLR_OK) return detail::last_failure(status);
    return AllowList(list);
  }
#if defined(__cpp_exceptions)
  explicit AllowList(const recblr_ids& ids) : AllowList(detail::value_or_throw(try_create(ids))) {}
#endif
  size_t size() const { return static_cast<size_t>(recblr_allow_list_size(handle())); }
  recblr_allow_list* handle() const { return handle_.get(); }

 private:
  explicit AllowList(recblr_allow_list* list) : handle_(list) {}
  std::unique_ptr<recblr_allow_list, detail::Freeing<recblr_allow_list_free>> handle_;
};

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_BUNDLE_HPP_
