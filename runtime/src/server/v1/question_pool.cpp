#include "server/v1/question_pool.h"

#include <utility>

namespace recblr::server {

namespace {

constexpr size_t kMostIdle = 64;
constexpr int64_t kLargeIds = 10'000;
constexpr size_t kLargeRows = 64;

}  // namespace

std::unique_ptr<serving::Question> QuestionPool::take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<serving::Question> question = std::move(idle_.back());
      idle_.pop_back();
      return question;
    }
  }
  return std::make_unique<serving::Question>();
}

void QuestionPool::give_back(std::unique_ptr<serving::Question> question) {
  if (question->n_ids() > kLargeIds || question->items.n_rows() > static_cast<int64_t>(kLargeRows)) return;
  if (question->k.value_or(0) > kLargeIds) return;
  question->clear();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(question));
}

}  // namespace recblr::server
