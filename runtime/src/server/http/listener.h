// Takes the connections that come to one listening socket, and deals them out to the loops.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "server/http/listening_socket.h"
#include "server/http/loop.h"

namespace recblr::server {

// Asks the system for as many file descriptors as there may be connections, as far as it lets the process.
void raise_file_limit(const HttpLimits& limits);

class Listener {
 public:
  // It runs in the first of `loops`.
  Listener(ListeningSocket socket, const std::vector<std::shared_ptr<Loop>>& loops);
  ~Listener();

  // In the loop's thread, or before it runs:
  void wait();
  // Takes what waits, then closes.
  void drain();
  void close();

 private:
  void take_all();
  // Serves a connection, or refuses it. Throws where that fails, the connection being closed.
  void take(int fd);
  void on_none_left(int error);

  std::optional<ListeningSocket> socket_;
  const std::vector<std::shared_ptr<Loop>>& loops_;
  ServerState& state_;
  boost::asio::posix::stream_descriptor descriptor_;
  boost::asio::steady_timer pause_;
  size_t next_loop_ = 0;
  bool draining_ = false, paused_ = false;
  std::chrono::steady_clock::time_point warned_;
};

}  // namespace recblr::server
