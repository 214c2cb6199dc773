// One loaded model.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "recblr/recblr.hpp"
#include "server/answer/question_pool.h"

namespace recblr::server {

// Requests that began with a model end with it.
struct ServedModel {
  std::string name;  // "recblr" unless --model-name
  std::string path;  // as given, and as resolved when it was loaded
  std::string resolved_path;
  int64_t version = 1;  // 1, 2, ... in the order of loading; a rollback brings the version back, too
  std::chrono::system_clock::time_point loaded;
  Bundle bundle;
  Engine engine;
  recblr_metrics warm_up{};  // what the engine counted before it was served; zeros where it does not batch
  std::unique_ptr<QuestionPool> questions = std::make_unique<QuestionPool>();
};
using ServedModelPtr = std::shared_ptr<const ServedModel>;

}  // namespace recblr::server
