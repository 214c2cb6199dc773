// Sends something over HTTP or HTTPS, and waits for the status.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recblr/recblr.hpp"

namespace recblr::server {

struct Url {
  bool is_https = false;
  std::string host, port;  // host: without the brackets of IPv6
  std::string path;        // with its query; begins with '/'
};

// Fails with kBadConfig and what a URL is like.
Expected<Url> read_url(std::string_view text);

using Headers = std::vector<std::pair<std::string, std::string>>;

// The status of the answer, or why there is none within `timeout` seconds; but a look-up of the host's address may take
// longer. Certificates are checked against the system's.
Expected<int> post(const Url& url, const Headers& headers, std::string body, double timeout);

}  // namespace recblr::server
