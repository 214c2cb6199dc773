#include "server/observe/span.h"

#include <boost/json.hpp>

#include "recblr/recblr.hpp"
#include "server/observe/trace_context.h"

namespace recblr::server {

namespace {

namespace json = boost::json;

constexpr int kInternal = 1, kServer = 2, kError = 2;  // SPAN_KIND_INTERNAL, SPAN_KIND_SERVER, STATUS_CODE_ERROR

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

std::string name_of(const Span& span) {
  if (span.route.empty()) return span.method;
  return span.protocol == "grpc" ? span.route : span.method + " " + span.route;
}

json::object object_of(const Span& span, const std::string& id, const std::string& parent, const std::string& name,
                       int kind, int64_t begin, int64_t end) {
  json::object object;
  object["traceId"] = span.trace_id;
  object["spanId"] = id;
  if (!parent.empty()) object["parentSpanId"] = parent;
  object["name"] = name;
  object["kind"] = kind;
  object["startTimeUnixNano"] = std::to_string(begin);
  object["endTimeUnixNano"] = std::to_string(end);
  return object;
}

void append(const Span& span, json::array* objects) {
  json::object request = object_of(span, span.span_id, span.parent_id, name_of(span), kServer, span.begin, span.end);
  request["attributes"] = attributes_of(span);
  if (span.status >= 500) request["status"] = json::object{{"code", kError}};
  objects->push_back(std::move(request));
  if (span.asked == 0) return;
  const auto child = [&span](const char* name, int64_t begin, int64_t end) {
    return object_of(span, new_span_id(), span.span_id, name, kInternal, begin, end);
  };
  objects->push_back(child("read", span.begin, span.asked));
  json::object engine = child("engine", span.asked, span.answered == 0 ? span.end : span.answered);
  engine["attributes"] = {attribute("recblr.rows", span.rows), attribute("recblr.items", span.items)};
  objects->push_back(std::move(engine));
  if (span.answered != 0) objects->push_back(child("write", span.answered, span.end));
}

}  // namespace

std::string otlp_json(const Span* spans, size_t n, const std::string& service) {
  json::array objects;
  for (size_t j = 0; j < n; ++j) append(spans[j], &objects);
  const std::string version(recblr::version());
  const json::object scope{{"name", "recblr-serve"}, {"version", version}};
  const json::array attributes{attribute("service.name", service), attribute("service.version", version)};
  const json::object of_scope{{"scope", scope}, {"spans", std::move(objects)}};
  const json::object of_resource{{"resource", json::object{{"attributes", attributes}}},
                                 {"scopeSpans", json::array{of_scope}}};
  return json::serialize(json::object{{"resourceSpans", json::array{of_resource}}});
}

}  // namespace recblr::server
