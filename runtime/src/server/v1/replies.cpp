#include "server/v1/replies.h"

#include <exception>
#include <new>
#include <utility>

namespace recblr::server {

namespace {

constexpr const char* kInternalError = "internal error: the server's log says why";
constexpr int kClientClosedRequest = 499;  // nginx's, for a client that left

}  // namespace

void reply_json(const ExchangePtr& exchange, std::string body) {
  Reply reply;
  reply.body = std::move(body);
  exchange->reply(std::move(reply));
}

void reply_error(const ExchangePtr& exchange, int status, std::string_view reason, std::string_view message) {
  exchange->record().reason = reason;
  exchange->reply(error_reply(status, message));
}

void reply_failure(const ExchangePtr& exchange, const Failure& failure) {
  switch (failure.status) {
    case Status::kInvalidArgument:
      return reply_error(exchange, 400, "invalid", failure.message);
    case Status::kOverloaded:
      return reply_error(exchange, 503, "overloaded", failure.message);
    case Status::kClosed:
      return reply_error(exchange, 503, "closed", failure.message);
    case Status::kStoreFailed:
      return reply_error(exchange, 503, "store", failure.message);
    case Status::kDeadline:
      return reply_error(exchange, 504, "deadline", failure.message);
    case Status::kCancelled:
      return reply_error(exchange, kClientClosedRequest, "client_gone", failure.message);
    default:
      exchange->record().detail = failure.message;
      return reply_error(exchange, 500, "internal", kInternalError);
  }
}

void reply_loading(const ExchangePtr& exchange) {
  reply_error(exchange, 503, "loading", "the model is not loaded yet: try again later");
}

void guarded(const ExchangePtr& exchange, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    reply_failure(exchange, {error.status(), error.what()});
  } catch (const std::bad_alloc&) {
    reply_failure(exchange, {Status::kOutOfMemory, "out of memory"});
  } catch (const std::exception& error) {
    reply_failure(exchange, {Status::kInternal, error.what()});
  }
}

void run_in_pool(Pool* pool, const ExchangePtr& exchange, std::function<void()> work) {
  const auto task = [exchange, work = std::move(work)] {
    if (exchange->client_gone()) {
      return reply_error(exchange, kClientClosedRequest, "client_gone", "the client left before it was answered");
    }
    guarded(exchange, work);
  };
  if (!pool->post(task)) {
    reply_error(exchange, 503, "overloaded", "too many requests wait: try again later");
  }
}

}  // namespace recblr::server
