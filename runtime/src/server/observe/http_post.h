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

// Fails with kBadConfig and what a URL is like; the message repeats no password.
Expected<Url> read_url(std::string_view text);

using Headers = std::vector<std::pair<std::string, std::string>>;

// Fails with kBadConfig where the file `trusted` holds no certificates; "" is fine.
Expected<void> check_trusted(const std::string& trusted);

// The status of the answer, or why there is none within `timeout` seconds; but a look-up of the host's address may take
// longer. Over HTTPS certificates are checked against those in the file `trusted`, or, where it is "", the system's.
Expected<int> post(const Url& url, const Headers& headers, const std::string& trusted, std::string body,
                   double timeout);

}  // namespace recblr::server
