#include "python/submission.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "python/errors.h"
#include "python/released.h"
#include "python/waiting.h"

namespace recblr::python {
namespace {

void done(void* context, recblr_status status) {
  const std::unique_ptr<std::shared_ptr<Submission>> held(static_cast<std::shared_ptr<Submission>*>(context));
  Submission& submission = **held;
  {
    const std::lock_guard<std::mutex> lock(submission.mutex);
    submission.is_done = true;
    submission.status = status;
    if (status != RECBLR_OK) submission.message = recblr_last_error();
    submission.changed.notify_all();
  }
  // Which then holds it: were it held in turn, an event loop that ended before would leave both behind.
  if (const auto finished = std::exchange(submission.finished, nullptr)) finished->add(*held);
}

}  // namespace

void submit(recblr_engine* engine, recblr_request* request, const std::shared_ptr<Submission>& submission) {
  auto context = std::make_unique<std::shared_ptr<Submission>>(submission);
  recblr_status status;
  {
    Released released;
    status = recblr_submit(engine, request, submission->result.get(), done, context.get(), &submission->ticket);
  }
  if (status == RECBLR_OK) context.release();  // `done` has it, and has perhaps been called already
  check(status);
}

void wait(recblr_engine* engine, Submission* submission) {
  wait_for(&submission->mutex, &submission->changed, &submission->is_done,
           [=] { recblr_cancel(engine, submission->ticket); });
}

Finished::Finished() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ < 0) {
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
  }
}

Finished::~Finished() { close(descriptor_); }

void Finished::add(std::shared_ptr<Submission> submission) {
  const std::lock_guard<std::mutex> lock(mutex_);
  submissions_.push_back(std::move(submission));
  if (submissions_.size() == 1) eventfd_write(descriptor_, 1);  // once for all that gather until they are taken
}

std::vector<std::shared_ptr<Submission>> Finished::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  eventfd_t count = 0;
  eventfd_read(descriptor_, &count);
  return std::exchange(submissions_, {});
}

}  // namespace recblr::python
