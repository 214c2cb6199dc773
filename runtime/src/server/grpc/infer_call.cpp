#include "server/grpc/infer_call.h"

#include <optional>
#include <utility>

#include "server/answer/large.h"
#include "server/grpc/infer_message.h"
#include "server/work/guarded.h"
#include "serving/limits.h"

namespace recblr::server {
namespace {

constexpr std::chrono::milliseconds kClockDifference(50);

}  // namespace

grpc::ServerUnaryReactor* InferCall::begin(grpc::CallbackServerContext* context,
                                           const inference::ModelInferRequest* request,
                                           inference::ModelInferResponse* response, ServedModelPtr model,
                                           CallRecord record, InferShared* shared) {
  const auto call =
      std::make_shared<InferCall>(context, request, response, std::move(model), std::move(record), shared);
  call->self_ = call;
  ++shared->open;
  call->guarded([&] { call->start(); });
  return call.get();
}

InferCall::InferCall(grpc::CallbackServerContext* context, const inference::ModelInferRequest* request,
                     inference::ModelInferResponse* response, ServedModelPtr model, CallRecord record,
                     InferShared* shared)
    : request_(request),
      response_(response),
      model_(std::move(model)),
      record_(std::move(record)),
      shared_(shared),
      deadline_(context->deadline()) {}

void InferCall::OnCancel() {
  if (std::chrono::system_clock::now() + kClockDifference >= shared_->end.load()) {
    is_dropped_ = true;
    ++shared_->dropped;
  }
  is_cancelled_ = true;
  if (const uint64_t ticket = ticket_; ticket != 0) model_->engine.cancel(ticket);
}

void InferCall::OnDone() {
  const std::shared_ptr<InferCall> last = std::move(self_);
  --shared_->open;
}

void InferCall::start() {
  record_->request_bytes = static_cast<int64_t>(request_->ByteSizeLong());
  if (static_cast<size_t>(record_->request_bytes) <= kLargeBody) return ask();
  const bool is_taken = shared_->pool->post([self = shared_from_this()] { self->guarded([&] { self->ask(); }); });
  if (!is_taken) fail({Status::kOverloaded, "too many requests wait: try again later"});
}

void InferCall::ask() {
  if (is_cancelled_) return fail({Status::kCancelled, "the client left before it was answered"});
  question_ = model_->questions->take();
  if (const Expected<void> submitted = submit(); !submitted) fail(submitted.error());
}

Expected<void> InferCall::submit() {
  serving::Question& question = *question_;
  if (auto read = read_infer_message(*request_, model_->bundle, &question, &outputs_); !read) return read;
  record_->rows = question.n_users();
  record_->items = question.n_ids();
  if (auto checked = serving::check_limits(question, shared_->options.limits, model_->bundle.n_items()); !checked) {
    return checked;
  }
  question.limit_timeout(shared_->options.timeout);
  if (deadline_ != std::chrono::system_clock::time_point::max()) {
    const double left = std::chrono::duration<double>(deadline_ - std::chrono::system_clock::now()).count();
    if (left <= 0) return Failure{Status::kDeadline, "the call's deadline is over: give it more time"};
    question.limit_timeout(left);
  }
  question.may_run_here = serving::is_short(question, model_->bundle);
  record_->asked = std::chrono::steady_clock::now();
  // It may be answered, and the call done, before this returns; `self` keeps the memory.
  const auto self = shared_from_this();
  const auto submitted = serving::submit(model_->bundle, model_->engine, &question,
                                         [self](Expected<void> done) { self->guarded([&] { self->finish(done); }); });
  if (!submitted) return submitted.error();
  ticket_ = *submitted;
  if (is_cancelled_) model_->engine.cancel(*submitted);
  return {};
}

void InferCall::finish(const Expected<void>& done) {
  record_->answered = std::chrono::steady_clock::now();
  if (!done) return fail(done.error());
  // It is answered at the cost of this thread where the pool is full, as the work is done.
  const auto write_there = [self = shared_from_this()] { self->guarded([&] { self->write(); }); };
  if (is_large_answer(*question_) && shared_->pool->post(write_there)) return;
  write();
}

void InferCall::write() {
  write_infer_message(*model_, *question_, request_->id(), outputs_, response_);
  model_->questions->give_back(std::move(question_));
  record_->response_bytes = static_cast<int64_t>(response_->ByteSizeLong());
  shared_->statistics->add_success(*model_, record_->rows, record_->began, record_->asked, record_->answered);
  end({});
}

void InferCall::fail(const Failure& failure) {
  shared_->statistics->add_failure(*model_, record_->began);
  CallEnd ended = call_end(failure);
  // gRPC withdraws calls at their deadlines, too, and clients whose clock began earlier do.
  if (failure.status == Status::kCancelled && std::chrono::system_clock::now() >= deadline_ - kClockDifference) {
    ended = call_end({Status::kDeadline, "the call's deadline is over: give it more time"});
  }
  if (failure.status == Status::kCancelled && is_dropped_) {
    ended = call_end({Status::kClosed, "the server ends: ask another one"});
  }
  if (ended.http_status == 500) record_->detail = failure.message;
  end(ended);
}

void InferCall::end(const CallEnd& end) {
  record_.end(end);
  --shared_->calls;  // before the client can know of it, and ask again
  Finish(end.status);
}

template <typename Step>
void InferCall::guarded(const Step& step) {
  server::guarded(step, [this](const Failure& failure) { fail(failure); });
}

}  // namespace recblr::server
