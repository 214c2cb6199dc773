// Memory for requests, used again.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "serving/question.h"

namespace recblr::server {

// Of one model, as answers keep what they were made with. Threads may share it.
class QuestionPool {
 public:
  // An empty question.
  std::unique_ptr<serving::Question> take();
  // Keeps it, unless there are enough or it holds on to much memory.
  void give_back(std::unique_ptr<serving::Question> question);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<serving::Question>> idle_;
};

}  // namespace recblr::server
