// An instance of a model: a thread of the server's that brings requests.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "triton/model.h"
#include "triton/task.h"
#include "triton/triton_api.h"

namespace recblr::triton {

class Instance {
 public:
  Instance(Model* model, TRITONBACKEND_ModelInstance* handle) : model_(model), handle_(handle) {}
  // Waits until what it took is answered.
  ~Instance();

  // Takes requests, each of which gets its answer or its own error, and returns while they are computed: the engine
  // merges them with those of later calls and of other instances. Where it throws, all requests are still the server's.
  void execute(TRITONBACKEND_Request** requests, uint32_t n_requests);

 private:
  void submit(std::unique_ptr<Task> task) noexcept;
  // With an error, which it gives back, or with what the engine answered.
  void answer(std::unique_ptr<Task> task, TRITONSERVER_Error* error) noexcept;
  void ended();

  Model* const model_;
  TRITONBACKEND_ModelInstance* const handle_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int64_t open_ = 0;
};

}  // namespace recblr::triton
