#include "server/observe/span.h"

#include <boost/json.hpp>

#include "recblr/recblr.hpp"

namespace recblr::server {

namespace {

namespace json = boost::json;

constexpr int kServer = 2, kError = 2;  // SPAN_KIND_SERVER, STATUS_CODE_ERROR

json::object attribute(const char* key, const std::string& value) {
  return {{"key", key}, {"value", {{"stringValue", value}}}};
}
json::object attribute(const char* key, int64_t value) {
  return {{"key", key}, {"value", {{"intValue", std::to_string(value)}}}};  // 64 bits are a string in protobuf's JSON
}

json::array attributes_of(const Span& span) {
  json::array attributes;
  if (span.protocol == "grpc") {
    attributes.push_back(attribute("rpc.system", "grpc"));
    attributes.push_back(attribute("rpc.method", span.route));
  } else {
    attributes.push_back(attribute("http.request.method", span.method));
    attributes.push_back(attribute("http.route", span.route));
  }
  attributes.push_back(attribute("http.response.status_code", int64_t{span.status}));
  if (!span.reason.empty()) attributes.push_back(attribute("error.type", span.reason));
  attributes.push_back(attribute("recblr.rows", span.rows));
  attributes.push_back(attribute("recblr.items", span.items));
  attributes.push_back(attribute("recblr.request_id", span.request_id));
  if (!span.fingerprint.empty()) attributes.push_back(attribute("recblr.model.fingerprint", span.fingerprint));
  return attributes;
}

json::object object_of(const Span& span) {
  json::object object;
  object["traceId"] = span.trace_id;
  object["spanId"] = span.span_id;
  if (!span.parent_id.empty()) object["parentSpanId"] = span.parent_id;
  object["name"] = span.protocol == "grpc" || span.route.empty() ? span.route.empty() ? span.method : span.route
                                                                 : span.method + " " + span.route;
  object["kind"] = kServer;
  object["startTimeUnixNano"] = std::to_string(span.begin);
  object["endTimeUnixNano"] = std::to_string(span.end);
  object["attributes"] = attributes_of(span);
  if (span.status >= 500) object["status"] = json::object{{"code", kError}};
  return object;
}

}  // namespace

std::string otlp_json(const std::vector<Span>& spans, const std::string& service) {
  json::array objects;
  for (const Span& span : spans) objects.push_back(object_of(span));
  const std::string version(recblr::version());
  const json::object scope{{"name", "recblr-serve"}, {"version", version}};
  const json::array attributes{attribute("service.name", service), attribute("service.version", version)};
  const json::object of_scope{{"scope", scope}, {"spans", std::move(objects)}};
  const json::object of_resource{{"resource", json::object{{"attributes", attributes}}},
                                 {"scopeSpans", json::array{of_scope}}};
  return json::serialize(json::object{{"resourceSpans", json::array{of_resource}}});
}

}  // namespace recblr::server
