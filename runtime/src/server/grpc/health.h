// gRPC's health checking: whether requests are answered, as /v2/health/ready says.
#pragma once

#include "health.grpc.pb.h"
#include "server/model/models.h"

namespace recblr::server {

// Needs no token. `service` is "" for the server, or inference.GRPCInferenceService.
class HealthService : public grpc::health::v1::Health::CallbackService {
 public:
  explicit HealthService(const Models* models) : models_(models) {}
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;

 private:
  const Models* const models_;
};

}  // namespace recblr::server
