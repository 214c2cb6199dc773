// The Open Inference Protocol over gRPC, beside gRPC's health checking.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http/http_server.h"
#include "server/model/models.h"
#include "server/observe/observer.h"
#include "server/oip/routes.h"
#include "server/oip/statistics.h"
#include "server/work/pool.h"

namespace recblr::server {

struct GrpcOptions {
  std::vector<std::string> addresses;  // "127.0.0.1:8001", "[::1]:8001", "unix:/run/recblr-grpc.sock"
  TlsFiles tls;                        // used for all addresses where it is not empty
  // Of them the sizes of metadata and messages, of one and of all, concurrent calls, how long a connection may be
  // without calls, and how long until a silent client is asked whether it is still there.
  HttpLimits limits;
  Tokens tokens;  // in the metadata `authorization`
  OipOptions oip;
  std::function<void(const std::string&)> warn;  // of lines for the log, any thread; none: to stderr
};

// Clients' deadlines are kept, and a client that leaves is not computed for.
class GrpcServer {
 public:
  // What is given must outlive it; `observer` may be nullptr. Listens and answers at once; throws recblr::Error
  // (kBadConfig) with the address and what to do.
  GrpcServer(const GrpcOptions& options, const Models* models, Pool* pool, OipStatistics* statistics,
             Observer* observer);
  ~GrpcServer();
  // The addresses with their real ports: "grpc://127.0.0.1:8001", "grpcs://..." with TLS, "unix:...".
  const std::vector<std::string>& urls() const;
  // Takes no more calls, answers those that it took, and returns once that is done, or after `timeout` seconds, when
  // the rest is cancelled: how many those are. Clients that keep a connection though no call is under way are let go
  // after two seconds, and with them what has not arrived of a call's message. May be called once.
  int64_t drain(double timeout);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
