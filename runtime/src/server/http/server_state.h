// What all connections of a server share.
#pragma once

#include <algorithm>
#include <atomic>
#include <boost/asio/ssl/context.hpp>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "server/http/http_server.h"
#include "server/http/token_check.h"

namespace recblr::server {

struct ServerState {
  ServerState(const HttpOptions& the_options, const Router& the_router, Observer* the_observer)
      : options(the_options),
        router(the_router),
        observer(the_observer),
        tokens(the_options.tokens),
        // Enough for the longest one, packed and unpacked.
        max_bodies_bytes(std::max(options.limits.max_bodies_bytes, 2 * options.limits.max_body_bytes)) {}

  // Where the last of what drain() waits for has gone, it is told.
  void listener_closed() { gone(&listeners); }
  void connection_closed() { gone(&connections); }

  const HttpOptions options;
  const Router& router;
  Observer* const observer;
  const TokenCheck tokens;
  const int64_t max_bodies_bytes;                  // of all requests and long replies together
  std::unique_ptr<boost::asio::ssl::context> tls;  // or none

  std::atomic<bool> draining{false};
  std::atomic<int64_t> listeners{0}, connections{0};
  std::atomic<int64_t> concurrent{0};  // requests whose handlers have not replied
  std::atomic<int64_t> dropped{0};     // requests, once the time to drain is over
  std::atomic<int64_t> body_bytes{0};  // of all requests and long replies that are held
  std::mutex mutex;
  std::condition_variable changed;

 private:
  void gone(std::atomic<int64_t>* count) {
    if (--*count > 0) return;
    const std::lock_guard lock(mutex);
    changed.notify_all();
  }
};

}  // namespace recblr::server
