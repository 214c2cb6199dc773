// What recblr-serve was started with: flags, environment variables and a file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/http/http_server.h"
#include "server/model/models.h"
#include "serving/limits.h"

namespace recblr::server {

struct LogOptions {
  std::string level = "info";   // "debug", "info", "warning", "error"
  std::string format = "json";  // or "text"
  bool requests = false;        // a line for each request, at level info
};

struct TraceOptions {
  std::string endpoint;  // of OTLP over HTTP, as http://collector:4318; empty: no traces
  double sample = 1;     // the share of requests without a trace of the client's own
};

// One option as it was found. `source` is "default", "--http-port", "RECBLR_SERVE_HTTP_PORT" or "serve.toml, line 3".
struct Setting {
  std::string name, value, source;  // a secret's value is ***
};

struct Options {
  ModelOptions model;
  HttpOptions http;
  std::vector<std::string> grpc_addresses;  // "127.0.0.1:8001", with http's TLS and tokens; none: no gRPC
  serving::QuestionLimits limits;
  bool reloads_any_path = true;  // whoever may reload may say which bundle
  double drain_delay = 0;        // seconds after SIGTERM that it takes connections, though it is not ready
  double drain_timeout = 20;     // seconds after them
  double watch_interval = 2;     // seconds between looks at where the link to the bundle leads; 0: none
  LogOptions log;
  TraceOptions trace;
  std::vector<Setting> settings;  // all of them, for the log
};

// What a command line asks for: to serve, or to print `text` and end with `status`.
struct CommandLine {
  std::optional<Options> options;
  std::string text;
  int status = 0;  // 0: the text is for stdout; 2, something given is wrong: one line for stderr
};

// A flag goes before its environment variable, RECBLR_SERVE_..., and that before the key in the file of --config.
CommandLine parse_options(int argc, const char* const* argv);

}  // namespace recblr::server
