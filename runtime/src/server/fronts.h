// All that clients come in by: HTTP and, where it is built in, gRPC.
#pragma once

#include <cstdint>
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
  // listen, and std::system_error where no thread can be had: then end the process, as gRPC may go on.
  Fronts(const Options& options, Models* models, Observation* observation);
  ~Fronts();  // not while a request waits for something that may never come: then end the process
  // The addresses with their real ports, HTTP's first.
  std::vector<std::string> urls() const;
  // Takes no more requests, and returns once those taken are answered, or after `timeout` seconds: then how many were
  // not.
  int64_t drain(double timeout);

 private:
  OipStatistics statistics_;
  Pool pool_;
  Pool users_pool_;  // of its own, as a store that hangs shall hold up nothing else
  Router router_;
  std::unique_ptr<HttpServer> http_;
#ifdef RECBLR_WITH_GRPC
  std::unique_ptr<GrpcServer> grpc_;
#endif
};

}  // namespace recblr::server
