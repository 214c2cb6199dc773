// A socket that listens at one address.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace recblr::server {

inline constexpr int kBacklog = 4096;  // connections that may wait; the system cuts it to its own limit

// "unix:/run/recblr.sock"
inline bool is_unix_address(const std::string& address) { return address.rfind("unix:", 0) == 0; }

// Closes it in the end, and removes the file of a unix socket if it is still its own.
class ListeningSocket {
 public:
  ListeningSocket() = default;
  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;
  ~ListeningSocket();

  int fd() const { return fd_; }
  bool is_unix() const { return !path_.empty(); }
  // With the real port: "http://127.0.0.1:8000", "unix:/run/recblr.sock".
  std::string url(const std::string& scheme) const;

 private:
  friend std::vector<ListeningSocket> listen_at(const std::string& address, bool also_ipv4);

  int fd_ = -1;
  std::string path_;
  uint64_t device_ = 0, inode_ = 0;  // of the file
};

// "127.0.0.1:8000", "[::1]:8000", "unix:/run/recblr.sock", or "name:8000", which may be several, of which those are
// left out that this machine does not have; "[::]:8000" is IPv4's, too, with `also_ipv4`. Port 0: any free one. Throws
// recblr::Error (kBadConfig).
std::vector<ListeningSocket> listen_at(const std::string& address, bool also_ipv4);

}  // namespace recblr::server
