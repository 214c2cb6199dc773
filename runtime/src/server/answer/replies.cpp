#include "server/answer/replies.h"

#include <exception>
#include <utility>

namespace recblr::server {

namespace {

constexpr const char* kInternalError = "internal error: the server's log says why";
constexpr int kClientClosedRequest = 499;  // nginx's, for a client that left

// The reason names files and machines, which are none of the client's, or a user, who is none of the log's.
void reply_store_failure(const ExchangePtr& exchange, const std::string& reason) {
  if (reason.find("of user ") != std::string::npos) {
    exchange->record().detail = "the store holds a user's history that cannot be read: forget the user";
    return reply_error(exchange, 503, "store", "the user's history cannot be read: forget the user");
  }
  exchange->record().detail = reason;
  reply_error(exchange, 503, "store", "the store does not answer: try again later");
}

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
      return reply_store_failure(exchange, failure.message);
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
  guarded(work, [&exchange](const Failure& failure) { reply_failure(exchange, failure); });
}

void run_in_pool(Pool* pool, const ExchangePtr& exchange, std::function<void()> work, Fail fail) {
  const auto task = [exchange, work = std::move(work), fail] {
    if (exchange->client_gone()) return fail({Status::kCancelled, "the client left before it was answered"});
    guarded(work, fail);
  };
  if (!pool->post(task)) fail({Status::kOverloaded, "too many requests wait: try again later"});
}

void run_in_pool(Pool* pool, const ExchangePtr& exchange, std::function<void()> work) {
  run_in_pool(pool, exchange, std::move(work),
              [exchange](const Failure& failure) { reply_failure(exchange, failure); });
}

}  // namespace recblr::server
