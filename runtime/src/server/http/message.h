// What is asked and answered over HTTP, without the library that reads and writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace recblr::server {

enum class Method { kGet, kHead, kPost, kPut, kDelete, kOptions, kOther };
const char* name_of(Method method);

// A whole request: its body was read, is within the limit, and was unpacked if it came with gzip or deflate.
struct Request {
  Method method = Method::kGet;
  std::string path;                     // percent-decoded, UTF-8; without the query
  std::string query;                    // as it came, without '?'
  std::vector<std::string> parameters;  // what stands for the {..} of the route, percent-decoded, UTF-8
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  // Of the first header of that name, any case; "" where there is none.
  std::string_view header(std::string_view name) const;
};

struct Reply {
  int status = 200;
  std::string_view content_type = "application/json";  // static
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // besides content-type, content-length, date, connection
};

// {"error": message}, and Retry-After where `status` is 429 or 503.
Reply error_reply(int status, std::string_view message);

}  // namespace recblr::server
