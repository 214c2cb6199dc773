// A reply on its way out: head, then body.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <string>

namespace recblr::server {

struct Output {
  std::string head, body;
  size_t sent = 0;

  bool done() const { return sent == head.size() + body.size(); }
  // What is to be sent next: the rest of the head, or of the body.
  iovec next() const {
    const bool in_head = sent < head.size();
    const std::string& part = in_head ? head : body;
    const size_t begin = in_head ? sent : sent - head.size();
    return {const_cast<char*>(part.data()) + begin, part.size() - begin};
  }
  // Sends what the socket takes without waiting, but about a megabyte at most, so that others have their turn. False
  // if that failed.
  bool send(int fd) {
    const size_t until = sent + (1 << 20);
    while (!done() && sent < until) {
      iovec parts[2] = {next(), {body.data(), body.size()}};
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = sent < head.size() && !body.empty() ? 2 : 1;
      const ssize_t n = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n >= 0) {
        sent += static_cast<size_t>(n);
      } else if (errno != EINTR) {
        return errno == EAGAIN || errno == EWOULDBLOCK;
      }
    }
    return true;
  }
};

}  // namespace recblr::server
