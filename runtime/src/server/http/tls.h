// What TLS is spoken with.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/http/http_server.h"

namespace recblr::server {

// TLS 1.2 and later. Throws recblr::Error (kBadConfig) that names the file.
std::unique_ptr<boost::asio::ssl::context> make_tls(const TlsFiles& files);

}  // namespace recblr::server
