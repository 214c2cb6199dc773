#include "triton/model.h"

#include <utility>

#include "serving/text.h"
#include "triton/error.h"

namespace recblr::triton {

namespace {

constexpr size_t kMostTasks = 64;  // that are kept of requests that were answered

Bundle open_version(TRITONBACKEND_Model* model) {
  TRITONBACKEND_ArtifactType type{};
  const char* folder = nullptr;
  uint64_t version = 0;
  check(TRITONBACKEND_ModelRepository(model, &type, &folder));
  check(TRITONBACKEND_ModelVersion(model, &version));
  if (type != TRITONBACKEND_ARTIFACT_FILESYSTEM) {
    throw Error({Status::kUnsupported, "the model is not in the file system: put its repository there"});
  }
  return Bundle(std::string(folder) + "/" + std::to_string(version));
}

struct MessageDeleting {
  void operator()(TRITONSERVER_Message* message) const {
    if (TRITONSERVER_Error* error = TRITONSERVER_MessageDelete(message)) log_error(error);
  }
};
using Message = std::unique_ptr<TRITONSERVER_Message, MessageDeleting>;

std::string config_of(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* given = nullptr;
  check(TRITONBACKEND_ModelConfig(model, 1, &given));
  const Message message(given);
  const char* text = nullptr;
  size_t size = 0;
  check(TRITONSERVER_MessageSerializeToJson(given, &text, &size));
  return {text, size};
}

void set_config(TRITONBACKEND_Model* model, const std::string& config) {
  TRITONSERVER_Message* made = nullptr;
  check(TRITONSERVER_MessageNewFromSerializedJson(&made, config.data(), config.size()));
  const Message message(made);
  check(TRITONBACKEND_ModelSetConfig(model, 1, made));
}

// Completes the model's configuration where the server allows that, and checks it.
Settings settings_of(TRITONBACKEND_Model* model, const Bundle& bundle) {
  std::string config = config_of(model);
  Settings settings = read_settings(config);
  bool completes = false;
  check(TRITONBACKEND_ModelAutoCompleteConfig(model, &completes));
  std::optional<std::string> whole = completes ? completed(config, bundle) : std::nullopt;
  check_config(whole ? *whole : config, bundle);
  if (whole) set_config(model, *whole);
  return settings;
}

}  // namespace

Model::Model(TRITONBACKEND_Model* model)
    : bundle_(open_version(model)), settings_(settings_of(model, bundle_)), engine_(bundle_, settings_.engine) {
  tasks_.reserve(kMostTasks);
  log_info(("recblr: " + serving::grouped(bundle_.n_items()) + " items, " + std::string(bundle_.fingerprint()) + ", " +
            std::string(engine_.description()))
               .c_str());
}

std::unique_ptr<Task> Model::take_task() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!tasks_.empty()) {
      std::unique_ptr<Task> task = std::move(tasks_.back());
      tasks_.pop_back();
      return task;
    }
  }
  return std::make_unique<Task>();
}

void Model::give_task(std::unique_ptr<Task> task) {
  if (task->question.kept_bytes() > serving::kMostKeptBytes) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (tasks_.size() < kMostTasks) tasks_.push_back(std::move(task));
}

}  // namespace recblr::triton
