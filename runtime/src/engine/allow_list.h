// A list of items that may be recommended, looked up once for many requests.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "base/ids.h"
#include "bundle/bundle.h"

namespace recblr {

// Keeps ids, those that a model does not know, too; threads may share it. Looked up in a vocabulary when it first meets
// it; the look-up for the latest one is kept.
class AllowList {
 public:
  // Copies the ids, which are one row.
  explicit AllowList(const Ids& ids);

  AllowList(const AllowList&) = delete;
  AllowList& operator=(const AllowList&) = delete;

  int64_t size() const;  // how many ids were given

  // The indices of the ids that the bundle's model knows, ascending, each once. Throws Error(kInvalidArgument), "the
  // AllowList: item id ...", as Vocabulary::encode_row does.
  std::shared_ptr<const std::vector<int32_t>> items(const std::shared_ptr<const Bundle>& bundle) const;

 private:
  Ids view() const;
  IdType type_;
  int64_t size_ = 0;
  int64_t offsets_[2] = {0, 0};
  std::vector<int64_t> integers_;
  std::string text_;
  std::vector<int64_t> text_offsets_;
  std::vector<Strangers> strangers_;
  std::vector<std::string> words_;  // of the strangers
  mutable std::mutex mutex_;
  mutable std::weak_ptr<const Bundle> latest_;
  mutable std::shared_ptr<const std::vector<int32_t>> found_;
};

}  // namespace recblr
