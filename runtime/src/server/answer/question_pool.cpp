#include "server/answer/question_pool.h"

#include <utility>

namespace recblr::server {

namespace {

constexpr size_t kMostIdle = 64;

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
  if (question->kept_bytes() > serving::kMostKeptBytes) return;
  question->clear();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(question));
}

}  // namespace recblr::server
