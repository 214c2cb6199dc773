// One request in a trace with its parts, and how OpenTelemetry's protocol writes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace recblr::server {

struct Span {
  std::string trace_id, span_id, parent_id;  // parent_id: "" where the trace begins here
  int64_t begin = 0, end = 0;                // nanoseconds since 1970
  int64_t asked = 0, answered = 0;           // of the engine; 0 where it was not asked, or its answer not awaited
  std::string protocol, method, route, reason, request_id, fingerprint;
  int status = 0;
  int64_t rows = 0, items = 0;
};

// The body of a request to a collector, in OTLP's JSON. A request whose engine was asked has three children: "read", to
// when it was asked; "engine", its queue and its run; "write", the rest.
std::string otlp_json(const Span* spans, size_t n, const std::string& service);

}  // namespace recblr::server
