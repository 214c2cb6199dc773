#include "triton/instance.h"

#include <chrono>
#include <utility>
#include <vector>

#include "serving/question.h"
#include "triton/error.h"

namespace recblr::triton {

namespace {

// As Triton wants times of its statistics.
uint64_t now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

}  // namespace

Instance::~Instance() {
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return open_ == 0; });
}

void Instance::execute(TRITONBACKEND_Request** requests, uint32_t n_requests) {
  const auto batch = std::make_shared<Batch>();
  batch->began = now();
  batch->left = n_requests;
  std::vector<std::unique_ptr<Task>> tasks(n_requests);
  for (uint32_t j = 0; j < n_requests; ++j) {
    tasks[j] = model_->take_task();
    tasks[j]->request = requests[j];
    tasks[j]->batch = batch;
  }
  // From here on the requests are ours, so nothing may be thrown: the server would release them, too.
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ += n_requests;
  }
  for (std::unique_ptr<Task>& task : tasks) {
    TRITONSERVER_Error* error = guarded([&] {
      const Expected<void> read = task->read(model_->bundle(), model_->settings());
      if (!read) throw Error(read.error());
    });
    if (error != nullptr) answer(std::move(task), error);
  }
  batch->submitted = now();
  for (std::unique_ptr<Task>& task : tasks) {
    if (task != nullptr) submit(std::move(task));
  }
}

void Instance::submit(std::unique_ptr<Task> task) noexcept {
  Task* taken = task.release();  // whoever answers it takes it back
  const auto done = [this, taken](const Expected<void>& answered) {
    TRITONSERVER_Error* failed =
        answered ? nullptr : error_of(answered.error().status, answered.error().message.c_str());
    answer(std::unique_ptr<Task>(taken), failed);
  };
  TRITONSERVER_Error* error = guarded([&] {
    const Expected<uint64_t> ticket = serving::submit(model_->bundle(), model_->engine(), &taken->question, done);
    if (!ticket) throw Error(ticket.error());
  });
  if (error != nullptr) answer(std::unique_ptr<Task>(taken), error);
}

void Instance::answer(std::unique_ptr<Task> task, TRITONSERVER_Error* error) noexcept {
  const uint64_t computed = now();
  TRITONBACKEND_Request* request = task->request;
  TRITONBACKEND_Response* response = nullptr;
  log_error(TRITONBACKEND_ResponseNew(&response, request));
  if (error == nullptr && response != nullptr) error = guarded([&] { task->write(model_->bundle(), response); });
  const bool success = response != nullptr && error == nullptr;
  const Batch& batch = *task->batch;
  const uint64_t written = now();
  // Before the client is told, so that statistics that it asks for then have its request.
  log_error(TRITONBACKEND_ModelInstanceReportStatistics(handle_, request, success, batch.began, batch.submitted,
                                                        computed, written));
  if (success) ++task->batch->answered;
  if (--task->batch->left == 0 && batch.answered > 0) {
    log_error(TRITONBACKEND_ModelInstanceReportBatchStatistics(handle_, batch.answered, batch.began, batch.submitted,
                                                               computed, written));
  }
  if (response != nullptr) {
    log_error(TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error));
  }
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
  log_error(TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL));
  task->batch.reset();
  model_->give_task(std::move(task));
  ended();
}

void Instance::ended() {
  const std::lock_guard<std::mutex> lock(mutex_);  // until it is told, as the instance may be gone right after
  if (--open_ == 0) idle_.notify_all();
}

}  // namespace recblr::triton
