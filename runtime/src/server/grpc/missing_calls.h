// Calls that are not there, of whatever service.
#pragma once

#include <grpcpp/generic/async_generic_service.h>

namespace recblr::server {

// gRPC itself refuses them without a word.
class MissingCalls : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;
};

}  // namespace recblr::server
