#include "server/http/listener.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "server/http/connection.h"

namespace recblr::server {
namespace {

constexpr int kAtOnce = 64;  // before others' turn
constexpr auto kPause = std::chrono::milliseconds(50);
constexpr int64_t kTooManyAnswered = 1024;  // connections beyond the limit that are told so
// To still others, who may miss it, as what they have sent is not read.
constexpr std::string_view kTooManyReply =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";
constexpr int64_t kOtherFiles = 32;  // file descriptors that are not for connections

// How many connections are served, and how many beyond those are told that they are too many.
struct Room {
  int64_t served, told;
};

Room room_for_connections(const HttpLimits& limits) {
  rlimit files;
  const bool is_limited = ::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY;
  if (!is_limited) return {limits.max_connections, kTooManyAnswered};
  const int64_t descriptors = std::max<int64_t>(static_cast<int64_t>(files.rlim_cur) - kOtherFiles, 8);
  const int64_t told = std::min(kTooManyAnswered, descriptors / 4);
  return {std::min(limits.max_connections, descriptors - told), told};
}

// A socket of `fd`, which is closed where that fails.
Stream::Socket socket_of(int fd, int family, Loop* loop) {
  Stream::Socket socket(loop->io());
  boost::system::error_code ec;
  socket.assign(boost::asio::generic::stream_protocol(family, 0), fd, ec);
  if (!ec) return socket;
  ::close(fd);
  throw boost::system::system_error(ec);
}

bool is_passing(int error) {  // what Linux gives of the connection, not of the socket
  return error == EINTR || error == ECONNABORTED || error == EPROTO || error == EPERM || error == ENETDOWN ||
         error == ENOPROTOOPT || error == EHOSTDOWN || error == EHOSTUNREACH || error == ENETUNREACH;
}

}  // namespace

void raise_file_limit(const HttpLimits& limits) {
  rlimit files;
  const auto wanted = static_cast<rlim_t>(limits.max_connections + kTooManyAnswered + kOtherFiles);
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= wanted) return;
  files.rlim_cur = std::min(files.rlim_max, wanted);
  ::setrlimit(RLIMIT_NOFILE, &files);
}

Listener::Listener(ListeningSocket socket, const std::vector<std::shared_ptr<Loop>>& loops)
    : socket_(std::move(socket)),
      loops_(loops),
      state_(loops.front()->state()),
      descriptor_(loops.front()->io(), socket_->fd()),
      pause_(loops.front()->io()) {
  ++state_.listeners;
}

Listener::~Listener() { close(); }

void Listener::wait() {
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& ec) {
    if (!ec) take_all();
  });
}

void Listener::drain() {
  draining_ = true;
  if (!paused_) take_all();
}

void Listener::close() {
  if (!socket_) return;
  descriptor_.release();  // ListeningSocket closes it
  pause_.cancel();
  socket_.reset();
  state_.listener_closed();
}

void Listener::take_all() {
  if (!socket_) return;
  for (int taken = 0; taken < (draining_ ? kBacklog : kAtOnce); ++taken) {
    const int fd = ::accept4(socket_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      try {
        take(fd);
      } catch (const boost::system::system_error& error) {
        return on_none_left(error.code().value());
      } catch (const std::exception&) {
        return on_none_left(ENOMEM);
      }
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return draining_ ? close() : wait();
    } else if (!is_passing(errno)) {
      return on_none_left(errno);
    }
  }
  return draining_ ? close() : wait();  // while draining, all that waited when that began are taken
}

void Listener::take(int fd) {
  const int64_t open = ++state_.connections;
  const Room room = room_for_connections(state_.options.limits);
  if (open > room.served + room.told) {
    const bool has_tls = state_.tls != nullptr && !socket_->is_unix();
    if (!has_tls) ::send(fd, kTooManyReply.data(), kTooManyReply.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    ::close(fd);
    return state_.connection_closed();
  }
  size_t chosen = next_loop_++ % loops_.size();
  for (size_t j = 1; j < loops_.size(); ++j) {
    const size_t other = (next_loop_ - 1 + j) % loops_.size();
    if (loops_[other]->n_connections() < loops_[chosen]->n_connections()) chosen = other;
  }
  const std::shared_ptr<Loop>& loop = loops_[chosen];
  const bool is_unix = socket_->is_unix();
  std::shared_ptr<Connection> connection;
  try {
    // The family is only for what Asio does with it, which is nothing.
    Stream::Socket socket = socket_of(fd, is_unix ? AF_UNIX : AF_INET, loop.get());
    boost::asio::ssl::context* const tls = is_unix ? nullptr : state_.tls.get();
    connection = std::make_shared<Connection>(loop, std::move(socket), tls, is_unix, open > room.served);
  } catch (...) {
    state_.connection_closed();
    throw;
  }
  loop->add(connection);
}

// No file descriptors, or no memory: tries again soon, and makes room meanwhile.
void Listener::on_none_left(int error) {
  paused_ = true;
  pause_.expires_after(kPause);
  pause_.async_wait([this](const boost::system::error_code& ec) {
    if (ec) return;
    paused_ = false;
    take_all();
  });
  for (const auto& loop : loops_) loop->post([loop = loop.get()] { loop->close_idle(); });
  const auto now = std::chrono::steady_clock::now();
  if (state_.options.warn && now - warned_ >= std::chrono::seconds(1)) {
    warned_ = now;
    state_.options.warn(std::string("connections cannot be accepted: ") + std::strerror(error) +
                        ": raise the limit of open files (ulimit -n), or lower that of connections");
  }
}

}  // namespace recblr::server
