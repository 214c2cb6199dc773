// In builds without gRPC nobody gets a GrpcServer.
#include "server/grpc/grpc_server.h"

namespace recblr::server {

class GrpcServer::Impl {};

GrpcServer::GrpcServer(const GrpcOptions&, const Models*, Pool*, OipStatistics*, Observer*) {
  throw Error({Status::kBadConfig, "this build of recblr-serve has no gRPC: give no port for it"});
}
GrpcServer::~GrpcServer() = default;
const std::vector<std::string>& GrpcServer::urls() const {
  static const std::vector<std::string> kNone;
  return kNone;
}
void GrpcServer::drain(double) {}

}  // namespace recblr::server
