// What all calls have in common: who may make them, how they end, what is told of them.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <string_view>

#include "recblr/recblr.hpp"
#include "server/http/token_check.h"
#include "server/observe/observer.h"
#include "server/oip/model_lookup.h"

namespace recblr::server {

// How a call ends: gRPC's status, and what the record says.
struct CallEnd {
  grpc::Status status;
  int http_status = 200;
  std::string_view reason = "";
};
CallEnd call_end(const Failure& failure);
CallEnd no_model_end(const ModelLookup& found);

// Of one call; begins with it.
class CallRecord {
 public:
  // `route` is static.
  CallRecord(grpc::CallbackServerContext* context, std::string_view route, Observer* observer);
  RequestRecord& operator*() { return record_; }
  RequestRecord* operator->() { return &record_; }
  // Tells the observer. Before the call is finished, behind which all may be gone.
  void end(const CallEnd& end);

 private:
  Observer* const observer_;
  RequestRecord record_;
};

// Whether a call may be made: why not, or OK.
CallEnd check_token(const TokenCheck& tokens, const grpc::CallbackServerContext& context, Access access);

}  // namespace recblr::server
