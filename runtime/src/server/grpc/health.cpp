#include "server/grpc/health.h"

#include "serving/text.h"

namespace recblr::server {

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const grpc::health::v1::HealthCheckRequest* request,
                                               grpc::health::v1::HealthCheckResponse* response) {
  using grpc::health::v1::HealthCheckResponse;
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (!request->service().empty() && request->service() != "inference.GRPCInferenceService") {
    reactor->Finish({grpc::StatusCode::NOT_FOUND, "service " + serving::shown(request->service()) + " is not here"});
    return reactor;
  }
  response->set_status(models_->ready() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace recblr::server
