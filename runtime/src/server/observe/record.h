// What is known of one request, over HTTP or gRPC, for metrics, log and trace.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace recblr::server {

struct RequestRecord {
  std::string_view protocol = "http";  // static: "http", "grpc"
  std::string_view method;             // static: "POST"
  std::string_view route;              // static or of the router: "/v1/users/{id}/events"; never the path itself
  int status = 0;                      // HTTP's; gRPC's mapped to it
  std::string_view reason = "";        // static, of an error: "invalid", "overloaded", "deadline", "client_gone", ...
  std::string request_id;              // the client's X-Request-Id where it is sane, or one made here
  std::string traceparent;             // of W3C, as it came
  int64_t rows = 0, items = 0;         // users and item ids asked with
  int64_t request_bytes = 0, response_bytes = 0;
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
  double seconds = 0;  // until the reply was handed over
  std::string detail;  // of status 500, and of stores that fail: what the log says; never ids
};

}  // namespace recblr::server
