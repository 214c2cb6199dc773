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
  int64_t max_bodies_bytes = 1 << 30;         // of all requests and long replies together; else 503
  int64_t max_connections = 1024;             // more are answered 503 and closed
  int64_t max_concurrent = 1024;              // requests at once; more are answered 503
  double header_timeout = 10;                 // seconds, from the first byte of a request
  double body_timeout = 60;                   // for all of it
  double write_timeout = 60;                  // without progress
  double keep_alive = 75;                     // idle between requests, and before the first
};

struct Tokens {
  // Empty: none is needed, but where there is no admin's, the user's is needed for both. The admin's is good for all.
  std::string user, admin;
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
  // Without ports, as "localhost" and "[::1]": a browser's request over TCP, and without TLS up to the browser, must be
  // to one of them. Empty: to any. A page whose own name leads here once it is loaded (DNS rebinding) is kept out so.
  std::vector<std::string> own_names;
  std::function<void(const std::string&)> warn;  // of lines for the log, any thread; none: to stderr
};

// When a client counts as gone: its connection was reset, or it closed a unix socket or TLS. Over TCP a client that
// closed its socket and one that only ended its sending (`nc -N`) look alike, until something is sent to them. So after
// the end of what an HTTP/1.1 client sends, while its request is being answered, it gets an interim reply,
// "100 Continue", which clients skip: a system whose client is gone answers with a reset.
class HttpServer {
 public:
  // `router` and `observer` must outlive it; `observer` may be nullptr. Listens at once; throws recblr::Error
  // (kBadConfig) with the address and what to do.
  HttpServer(const HttpOptions& options, const Router& router, Observer* observer);
  ~HttpServer();
  // The addresses with their real ports, as URLs.
  const std::vector<std::string>& urls() const;
  void start();
  // Takes no more connections, answers the requests that were accepted and those in the accept queue, tells clients to
  // close, and returns once all is written or after `timeout` seconds: then how many requests were not answered to the
  // last byte, whose connections are closed. Connections without a request, or with a part of its head, are closed
  // within half a second, in which they may still ask. May be called once, from any thread but those that call
  // handlers.
  int64_t drain(double timeout);
  int64_t connections() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
