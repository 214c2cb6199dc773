#include "bundle/bundle.h"

#include <algorithm>
#include <string>
#include <vector>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/handles.h"
#include "engine/encode.h"

using recblr::api::guarded;
using recblr::api::guarded_or;
using recblr::api::not_null;

namespace {

const recblr::Bundle& opened(const recblr_bundle* bundle) { return *not_null(bundle, "bundle")->bundle; }

}  // namespace

extern "C" {

recblr_status recblr_bundle_open(const char* path, recblr_bundle** bundle) {
  return guarded([=] {
    *not_null(bundle, "bundle") = nullptr;
    *bundle = new recblr_bundle{recblr::Bundle::open(not_null(path, "path"))};
  });
}

void recblr_bundle_free(recblr_bundle* bundle) { delete bundle; }

const char* recblr_bundle_path(const recblr_bundle* bundle) {
  return guarded_or("", [=] { return opened(bundle).path().c_str(); });
}

const char* recblr_bundle_manifest(const recblr_bundle* bundle) {
  return guarded_or("", [=] { return opened(bundle).manifest().json.c_str(); });
}

const char* recblr_bundle_fingerprint(const recblr_bundle* bundle) {
  return guarded_or("", [=] { return opened(bundle).manifest().fingerprint.c_str(); });
}

int64_t recblr_bundle_n_items(const recblr_bundle* bundle) {
  return guarded_or<int64_t>(0, [=] { return opened(bundle).n_items(); });
}

int64_t recblr_bundle_state_size(const recblr_bundle* bundle) {
  return guarded_or<int64_t>(0, [=] { return opened(bundle).state_size(); });
}

int64_t recblr_bundle_dim(const recblr_bundle* bundle) {
  return guarded_or<int64_t>(0, [=] { return opened(bundle).dim(); });
}

int32_t recblr_bundle_id_type(const recblr_bundle* bundle) {
  return guarded_or<int32_t>(-1, [=] { return static_cast<int32_t>(opened(bundle).vocabulary().type()); });
}

const float* recblr_bundle_initial_state(const recblr_bundle* bundle) {
  return guarded_or<const float*>(nullptr, [=] { return opened(bundle).initial_state().data(); });
}

recblr_status recblr_bundle_item(const recblr_bundle* bundle, int32_t index, int64_t* integer, const char** text,
                                 int64_t* length, int64_t* count) {
  return guarded([=] {
    const recblr::Vocabulary& vocabulary = opened(bundle).vocabulary();
    if (index < 1 || index > vocabulary.n_items()) {
      refuse(recblr::Code::kInvalidArgument,
             "index is " + std::to_string(index) + ": give one from 1 to " + std::to_string(vocabulary.n_items()));
    }
    const bool is_integer = vocabulary.type() == recblr::IdType::kInteger;
    const std::string_view string = is_integer ? std::string_view() : vocabulary.string(index);
    if (integer != nullptr) *integer = is_integer ? vocabulary.integer(index) : 0;
    if (text != nullptr) *text = string.data();
    if (length != nullptr) *length = static_cast<int64_t>(string.size());
    if (count != nullptr) *count = vocabulary.count(index);
  });
}

recblr_status recblr_bundle_encode(const recblr_bundle* bundle, const recblr_ids* ids, const char* name,
                                   int32_t* indices, int64_t* index_offsets, int64_t* unknown) {
  return guarded([=] {
    const recblr::Vocabulary& vocabulary = opened(bundle).vocabulary();
    std::vector<recblr::Strangers> strangers;
    const recblr::Ids checked = recblr::api::checked_ids(*not_null(ids, "ids"), "ids", &strangers);
    not_null(index_offsets, "index_offsets");
    if (checked.n_rows > 0) not_null(unknown, "unknown");
    if (checked.count() > 0) not_null(indices, "indices");
    std::vector<int32_t> found;
    std::vector<int64_t> offsets, skipped;
    recblr::encode_rows(vocabulary, checked, name == nullptr ? "ids" : name, &found, &offsets, &skipped);
    std::copy(found.begin(), found.end(), indices);
    std::copy(offsets.begin(), offsets.end(), index_offsets);
    std::copy(skipped.begin(), skipped.end(), unknown);
  });
}
}
