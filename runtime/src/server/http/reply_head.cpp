#include "server/http/reply_head.h"

#include <charconv>
#include <ctime>

namespace recblr::server {
namespace {

std::string_view phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Unknown";
  }
}

void append_number(size_t number, std::string* out) {
  char digits[24];
  out->append(digits, std::to_chars(digits, digits + sizeof(digits), number).ptr);
}

// Formatted once a second and thread.
std::string_view date() {
  static thread_local std::time_t formatted = -1;
  static thread_local char text[40];
  static thread_local size_t length = 0;
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != formatted) {
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char format[] = "___, %d ___ %Y %H:%M:%S GMT";  // strftime's names would be the locale's
    std::string_view(kDays[parts.tm_wday]).copy(format, 3);
    std::string_view(kMonths[parts.tm_mon]).copy(format + 8, 3);
    length = std::strftime(text, sizeof(text), format, &parts);
    formatted = now.tv_sec;
  }
  return {text, length};
}

void append_field(std::string_view name, std::string_view value, std::string* out) {
  out->append(name).append(": ");
  for (const char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') *out += c;
  }
  out->append("\r\n");
}

}  // namespace

void write_head(const Reply& reply, std::string_view request_id, KeepAlive keep_alive, std::string* head) {
  head->assign("HTTP/1.1 ");
  append_number(static_cast<size_t>(reply.status), head);
  head->append(" ").append(phrase(reply.status)).append("\r\n");
  if (!has_no_body(reply.status)) {
    head->append("Content-Type: ").append(reply.content_type).append("\r\nContent-Length: ");
    append_number(reply.body.size(), head);
    head->append("\r\n");
  }
  head->append("Date: ").append(date()).append("\r\n");
  head->append("X-Request-Id: ").append(request_id).append("\r\n");
  for (const auto& [name, value] : reply.headers) append_field(name, value, head);
  if (keep_alive == KeepAlive::kClose) head->append("Connection: close\r\n");
  if (keep_alive == KeepAlive::kSaid) head->append("Connection: keep-alive\r\n");
  head->append("\r\n");
}

}  // namespace recblr::server
