#include "server/grpc/missing_calls.h"

#include <string>

#include "serving/text.h"

namespace recblr::server {
namespace {

class Refusal : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const std::string& message) { Finish({grpc::StatusCode::UNIMPLEMENTED, message}); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerGenericBidiReactor* MissingCalls::CreateReactor(grpc::GenericCallbackServerContext* context) {
  const std::string& method = context->method();
  const bool loads = method.find("/RepositoryModel") != std::string::npos;  // Load and Unload
  return new Refusal(
      "recblr-serve has no call " + serving::shown(method) +
      (loads ? ": another model is loaded with POST /v1/model/reload" : ": docs/oip.md lists those that it has"));
}

}  // namespace recblr::server
