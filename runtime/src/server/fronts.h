// All that clients come in by: HTTP and, where it is built in, gRPC.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/http/http_server.h"
#include "server/http/router.h"
#include "server/model/models.h"
#include "server/observe/observation.h"
#include "server/oip/statistics.h"
#include "server/options/options.h"
#include "server/work/pool.h"

namespace recblr::server {

class GrpcServer;

class Fronts {
 public:
  // Listens and answers at once. What is given must outlive it. Throws recblr::Error (kBadConfig) where it cannot
  // listen.
  Fronts(const Options& options, Models* models, Observation* observation);
  ~Fronts();
  // The addresses with their real ports, HTTP's first.
  std::vector<std::string> urls() const;
  // Takes no more requests, and returns once those taken are answered, or after `timeout` seconds.
  void drain(double timeout);

 private:
  OipStatistics statistics_;
  Pool pool_;
  Router router_;
  std::unique_ptr<HttpServer> http_;
#ifdef RECBLR_WITH_GRPC
  std::unique_ptr<GrpcServer> grpc_;
#endif
};

}  // namespace recblr::server
