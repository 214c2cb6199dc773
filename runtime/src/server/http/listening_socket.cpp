#include "server/http/listening_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "recblr/recblr.hpp"

namespace recblr::server {
namespace {

[[noreturn]] void fail(const std::string& address, const std::string& why) {
  throw Error({Status::kBadConfig, "cannot listen at '" + address + "': " + why});
}

[[noreturn]] void fail_of_system(const std::string& address, int error) {
  const std::string why = std::strerror(error);
  if (error == EADDRINUSE) fail(address, why + ": stop what listens there, or give another port");
  if (error == EACCES) fail(address, why + ": give a port above 1023, or a folder that this user may write to");
  if (error == EADDRNOTAVAIL) fail(address, why + ": give an address of this machine");
  fail(address, why);
}

sockaddr_un unix_address(const std::string& address, const std::string& path) {
  sockaddr_un result{};
  result.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(result.sun_path)) {
    fail(address, "the path of a unix socket has 1 to " + std::to_string(sizeof(result.sun_path) - 1) + " bytes");
  }
  path.copy(result.sun_path, path.size());
  return result;
}

// Removes the file that a server left behind which did not end well.
void remove_stale(const std::string& address, const std::string& path, const sockaddr_un& where) {
  struct stat file;
  if (::lstat(path.c_str(), &file) != 0) return;
  if (!S_ISSOCK(file.st_mode)) fail(address, "there is a file that is no socket: give another path, or remove it");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail_of_system(address, errno);
  const bool refused =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0 && errno == ECONNREFUSED;
  ::close(fd);
  if (!refused) fail_of_system(address, EADDRINUSE);
  ::unlink(path.c_str());
}

}  // namespace

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::exchange(other.path_, {})),
      device_(other.device_),
      inode_(other.inode_) {}

ListeningSocket::~ListeningSocket() {
  if (fd_ < 0) return;
  struct stat file;
  if (is_unix() && ::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  ::close(fd_);
}

std::string ListeningSocket::url(const std::string& scheme) const {
  if (is_unix()) return "unix:" + path_;
  sockaddr_storage where{};
  socklen_t length = sizeof(where);
  char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
  ::getsockname(fd_, reinterpret_cast<sockaddr*>(&where), &length);
  ::getnameinfo(reinterpret_cast<sockaddr*>(&where), length, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
  const std::string name = where.ss_family == AF_INET6 ? "[" + std::string(host) + "]" : host;
  return scheme + "://" + name + ":" + port;
}

std::vector<ListeningSocket> listen_at(const std::string& address, bool also_ipv4) {
  std::vector<ListeningSocket> sockets;
  if (is_unix_address(address)) {
    const std::string path = address.substr(5);
    const sockaddr_un where = unix_address(address, path);
    remove_stale(address, path, where);
    ListeningSocket socket;
    socket.fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket.fd_ < 0) fail_of_system(address, errno);
    if (::bind(socket.fd_, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0 ||
        ::listen(socket.fd_, kBacklog) != 0) {
      fail_of_system(address, errno);
    }
    struct stat file;
    if (::lstat(path.c_str(), &file) == 0) {
      socket.path_ = path;
      socket.device_ = file.st_dev;
      socket.inode_ = file.st_ino;
    }
    sockets.push_back(std::move(socket));
    return sockets;
  }
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon == std::string::npos ? 0 : colon);
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!is_bracketed && host.find(':') != std::string::npos)) {
    fail(address, "give HOST:PORT, [IPV6]:PORT or unix:PATH");
  }
  const std::string port = address.substr(colon + 1);
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoi(port) > 65535) {
    fail(address, "the port is not between 0 and 65535");
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    fail(address, std::string(::gai_strerror(error)) + ": give an address of this machine");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    ListeningSocket socket;
    socket.fd_ = ::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool is_needed = one->ai_next == nullptr && sockets.empty();
    if (socket.fd_ < 0) {
      if (!is_needed) continue;  // a system without IPv6
      fail_of_system(address, errno);
    }
    const int on = 1, only_ipv6 = also_ipv4 ? 0 : 1;
    ::setsockopt(socket.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    ::setsockopt(socket.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // those accepted have it from here
    if (one->ai_family == AF_INET6) ::setsockopt(socket.fd_, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof(on));
    if (::bind(socket.fd_, one->ai_addr, one->ai_addrlen) != 0) {
      if (errno == EADDRNOTAVAIL && !is_needed) continue;  // IPv6 is there, but switched off
      fail_of_system(address, errno);
    }
    if (::listen(socket.fd_, kBacklog) != 0) fail_of_system(address, errno);
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

}  // namespace recblr::server
