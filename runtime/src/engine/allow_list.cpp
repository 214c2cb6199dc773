#include "engine/allow_list.h"

#include <algorithm>

#include "base/error.h"

namespace recblr {

AllowList::AllowList(const Ids& ids) : type_(ids.type), size_(ids.count()) {
  if (type_ == IdType::kInteger) {
    integers_.assign(ids.integers, ids.integers + size_);
  } else {
    text_offsets_.assign(1, 0);
    for (int64_t j = 0; j < size_; ++j) {
      text_.append(ids.string(j));
      text_offsets_.push_back(static_cast<int64_t>(text_.size()));
    }
  }
  strangers_.assign(ids.strangers, ids.strangers + ids.n_strangers);
  words_.reserve(3 * strangers_.size());  // what it holds does not move
  const auto keep = [this](const char* word) { return word == nullptr ? nullptr : words_.emplace_back(word).c_str(); };
  for (Strangers& strangers : strangers_) {
    strangers.shown = keep(strangers.shown);
    strangers.type = keep(strangers.type);
    strangers.advice = keep(strangers.advice);
    size_ += strangers.count;
  }
  offsets_[1] = ids.count();
}

int64_t AllowList::size() const { return size_; }

Ids AllowList::view() const {
  Ids ids;
  ids.type = type_;
  ids.n_rows = 1;
  ids.offsets = offsets_;
  ids.integers = integers_.data();
  ids.text = text_.data();
  ids.text_offsets = text_offsets_.data();
  ids.strangers = strangers_.data();
  ids.n_strangers = static_cast<int64_t>(strangers_.size());
  return ids;
}

std::shared_ptr<const std::vector<int32_t>> AllowList::items(const std::shared_ptr<const Bundle>& bundle) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (found_ != nullptr && latest_.lock() == bundle) return found_;
  auto found = std::make_shared<std::vector<int32_t>>();
  try {
    bundle->vocabulary().encode_row(view(), 0, found.get());
  } catch (const Error& error) {
    refuse(error.code(), std::string("the AllowList: ") + error.what());
  }
  std::sort(found->begin(), found->end());
  found->erase(std::unique(found->begin(), found->end()), found->end());
  found->shrink_to_fit();
  latest_ = bundle;
  found_ = std::move(found);
  return found_;
}

}  // namespace recblr
