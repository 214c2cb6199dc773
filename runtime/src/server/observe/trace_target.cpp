#include "server/observe/trace_target.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "serving/text.h"

namespace recblr::server {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t j = 0; j < text.size(); ++j) {
    const int high = text[j] == '%' && j + 2 < text.size() ? digit_of(text[j + 1]) : -1;
    const int low = high >= 0 ? digit_of(text[j + 2]) : -1;
    if (low >= 0) j += 2;
    decoded += low >= 0 ? static_cast<char>(high * 16 + low) : text[j];
  }
  return decoded;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// OTEL_EXPORTER_OTLP_TRACES_... or, where that is not there, OTEL_EXPORTER_OTLP_...
std::string exporter_variable(const std::string& end) {
  std::string value = variable(("OTEL_EXPORTER_OTLP_TRACES_" + end).c_str());
  return value.empty() ? variable(("OTEL_EXPORTER_OTLP_" + end).c_str()) : value;
}

[[noreturn]] void refuse(const std::string& message) { throw Error({Status::kBadConfig, message}); }

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// "name=value,name=value", the values percent-encoded. No message repeats them: they are secrets.
Headers headers_of(std::string_view text) {
  Headers headers;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = trimmed(pair.substr(0, equals));
    std::string value = percent_decoded(trimmed(pair.substr(equals + 1)));
    if (name.empty() || name.find_first_of(" :") != std::string_view::npos || !is_printable(name) ||
        !is_printable(value)) {
      refuse("the headers of traces, OTEL_EXPORTER_OTLP_HEADERS: give name=value,name=value in printable characters");
    }
    headers.emplace_back(name, std::move(value));
  }
  return headers;
}

}  // namespace

std::optional<TraceTarget> trace_target(const TraceOptions& options) {
  constexpr const char* kPath = "/v1/traces";
  std::string endpoint = options.endpoint;
  if (endpoint.empty()) endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  const bool is_whole = options.endpoint.empty() && !endpoint.empty();
  if (endpoint.empty()) endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (endpoint.empty()) return std::nullopt;
  Expected<Url> url = read_url(endpoint);
  if (!url) throw Error({url.error().status, "the endpoint of traces: " + url.error().message});
  if (!is_whole) {
    if (url->path.find('?') != std::string::npos) {
      refuse("the endpoint of traces: " + serving::shown(endpoint) + " has a query, but " + kPath +
             " is put at its end: leave it out, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the whole address");
    }
    if (url->path.back() == '/') url->path.pop_back();
    url->path += kPath;
  }
  TraceTarget target;
  target.url = *std::move(url);
  target.headers = headers_of(exporter_variable("HEADERS"));
  if (target.url.is_https) target.trusted = exporter_variable("CERTIFICATE");
  if (const Expected<void> read = check_trusted(target.trusted); !read) {
    throw Error({read.error().status, "OTEL_EXPORTER_OTLP_CERTIFICATE: " + read.error().message});
  }
  if (const std::string service = variable("OTEL_SERVICE_NAME"); !service.empty()) target.service = service;
  target.sample = options.sample;
  return target;
}

}  // namespace recblr::server
