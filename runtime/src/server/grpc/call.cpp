#include "server/grpc/call.h"

#include <optional>
#include <string>

#include "server/http/request_id.h"

namespace recblr::server {
namespace {

std::string_view metadata(const grpc::CallbackServerContext& context, const char* name) {
  const auto& all = context.client_metadata();
  const auto found = all.find(name);
  return found == all.end() ? std::string_view() : std::string_view(found->second.data(), found->second.size());
}

}  // namespace

CallEnd call_end(const Failure& failure) {
  using grpc::StatusCode;
  switch (failure.status) {
    case Status::kOk:
      return {};
    case Status::kInvalidArgument:
      return {{StatusCode::INVALID_ARGUMENT, failure.message}, 400, "invalid"};
    case Status::kOverloaded:
      return {{StatusCode::UNAVAILABLE, failure.message}, 503, "overloaded"};
    case Status::kClosed:
      return {{StatusCode::UNAVAILABLE, failure.message}, 503, "closed"};
    case Status::kDeadline:
      return {{StatusCode::DEADLINE_EXCEEDED, failure.message}, 504, "deadline"};
    case Status::kCancelled:
      return {{StatusCode::CANCELLED, failure.message}, 499, "client_gone"};
    default:
      return {{StatusCode::INTERNAL, "internal error: the server's log says why"}, 500, "internal"};
  }
}

CallEnd no_model_end(const ModelLookup& found) {
  if (found.is_known) return {{grpc::StatusCode::UNAVAILABLE, found.message}, 503, "loading"};
  return {{grpc::StatusCode::NOT_FOUND, found.message}, 404, "no_model"};
}

CallRecord::CallRecord(grpc::CallbackServerContext* context, std::string_view route, Observer* observer)
    : observer_(observer) {
  record_.protocol = "grpc";
  record_.method = "POST";
  record_.route = route;
  const std::string_view id = metadata(*context, "x-request-id");
  record_.request_id = is_sane_request_id(id) ? std::string(id) : new_request_id();
  record_.traceparent = metadata(*context, "traceparent");
  context->AddInitialMetadata("x-request-id", record_.request_id);
}

void CallRecord::end(const CallEnd& end) {
  record_.status = end.http_status;
  record_.reason = end.reason;
  record_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - record_.began).count();
  if (observer_ != nullptr) observer_->finished(record_);
}

CallEnd check_token(const TokenCheck& tokens, const grpc::CallbackServerContext& context, Access access) {
  const std::string_view given = metadata(context, "authorization");
  if (!tokens.refusal(access, given)) return {};
  const char* const message = given.empty() ? "a token is needed: send the metadata authorization: Bearer TOKEN"
                                            : "the token is none of this server's: ask whoever runs it for one";
  return {{grpc::StatusCode::UNAUTHENTICATED, message}, 401, "unauthorized"};
}

}  // namespace recblr::server
