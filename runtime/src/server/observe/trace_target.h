// Where traces are to go.
#pragma once

#include <optional>

#include "server/observe/traces.h"
#include "server/options/options.h"

namespace recblr::server {

// Nothing where there is no endpoint: neither an option nor one of OpenTelemetry's own variables,
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, names one. OTEL_EXPORTER_OTLP_HEADERS and
// OTEL_EXPORTER_OTLP_CERTIFICATE, or rather those of _TRACES_, and OTEL_SERVICE_NAME count as well. Throws
// recblr::Error (kBadConfig) for what is no URL, no header, or no certificate.
std::optional<TraceTarget> trace_target(const TraceOptions& options);

}  // namespace recblr::server
