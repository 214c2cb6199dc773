// Connections over TCP, TLS or a unix socket: reads requests within limits, hands them to the router, writes replies.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/http/router.h"
#include "server/observe/observer.h"

namespace recblr::server {

struct HttpLimits {
  int64_t max_header_bytes = 16 * 1024;
  int64_t max_body_bytes = 32 * 1024 * 1024;  // after unpacking, too
  int64_t max_connections = 1024;             // more are answered 503 and closed
  int64_t max_concurrent = 1024;              // requests at once; more are answered 503
  double header_timeout = 10;                 // seconds, from the first byte of a request
  double body_timeout = 60;                   // for all of it
  double write_timeout = 60;                  // without progress
  double keep_alive = 75;                     // idle between requests
};

struct Tokens {
  std::string user, admin;  // empty: none is needed; admin's is good for user's routes, too
};

struct TlsFiles {
  std::string certificate, key, client_ca;  // PEM; client_ca: clients must have a certificate of it
};

struct HttpOptions {
  std::vector<std::string> addresses;  // "127.0.0.1:8000", "[::1]:8000", "unix:/run/recblr.sock"
  TlsFiles tls;                        // used for all but unix sockets where it is not empty
  int threads = 0;                     // 0: one per usable CPU
  HttpLimits limits;
  Tokens tokens;
};

class HttpServer {
 public:
  // Listens at once; throws recblr::Error (kBadConfig) with the address and what to do.
  HttpServer(const HttpOptions& options, const Router& router, Observer* observer);
  ~HttpServer();
  // The addresses with their real ports, as URLs.
  const std::vector<std::string>& urls() const;
  void start();
  // Takes no more connections, answers the requests that were accepted and those in the accept queue, tells clients to
  // close, and returns once all is written or after `timeout` seconds. May be called from any thread, once.
  void drain(double timeout);
  int64_t connections() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
