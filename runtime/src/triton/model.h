// A version of a model that the server has loaded.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "recblr/recblr.hpp"
#include "triton/config.h"
#include "triton/task.h"
#include "triton/triton_api.h"

namespace recblr::triton {

class Model {
 public:
  // Opens and verifies the bundle that is the version's folder, and completes the configuration. Throws Error.
  explicit Model(TRITONBACKEND_Model* model);

  const Bundle& bundle() const { return bundle_; }
  const Engine& engine() const { return engine_; }
  const Settings& settings() const { return settings_; }

  // Memory for a request, used again.
  std::unique_ptr<Task> take_task();
  void give_task(std::unique_ptr<Task> task);

 private:
  Bundle bundle_;
  Settings settings_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Task>> tasks_;
  Engine engine_;  // the last, since its threads answer requests until it is gone
};

}  // namespace recblr::triton
