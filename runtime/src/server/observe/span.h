// One request in a trace, and how OpenTelemetry's protocol writes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/observe/record.h"
#include "server/observe/trace_context.h"

namespace recblr::server {

struct Span {
  std::string trace_id, span_id, parent_id;  // parent_id: "" where the trace begins here
  int64_t begin = 0, end = 0;                // nanoseconds since 1970
  std::string protocol, method, route, reason, request_id, fingerprint;
  int status = 0;
  int64_t rows = 0, items = 0;
};

// The body of a request to a collector, in OTLP's JSON.
std::string otlp_json(const std::vector<Span>& spans, const std::string& service);

}  // namespace recblr::server
