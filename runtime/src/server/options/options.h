// What recblr-serve was started with: flags, environment variables and a file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/http/http_server.h"
#include "server/model/models.h"

namespace recblr::server {

struct LogOptions {
  std::string level = "info";  // "debug", "info", "warning", "error"
  bool requests = true;        // a line for each request, at level info
};

struct TraceOptions {
  std::string endpoint;  // of OTLP over HTTP, as http://collector:4318; empty: no traces
  double sample = 1;     // the share of requests without a trace of the client's own
};

struct Options {
  ModelOptions model;
  HttpOptions http;
  std::vector<std::string> grpc_addresses;  // as HttpOptions::addresses; none: no gRPC
  double drain_timeout = 20;                // seconds
  double watch_interval = 2;                // seconds between looks at where the link to the bundle leads; 0: none
  LogOptions log;
  TraceOptions trace;
  // Each option's name, value as text, secrets as ***, and where it comes from: "default", "--port", ...
  struct Effective {
    std::string name, value, source;
  };
  std::vector<Effective> effective;
};

// What to do with a command line: serve, or print `text` and end with `status`.
struct CommandLine {
  std::optional<Options> options;
  std::string text;
  int status = 0;  // 0: text is for stdout; 2, of a wrong use: for stderr
};

// A flag goes before its environment variable, RECBLR_SERVE_..., that before the key in --config's file.
CommandLine parse_options(int argc, const char* const* argv);

}  // namespace recblr::server
