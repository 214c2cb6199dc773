// A connected socket, with TLS or without.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <optional>
#include <utility>

namespace recblr::server {

class Stream {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  Stream(Socket socket, boost::asio::ssl::context* tls) : socket_(std::move(socket)) {
    if (tls != nullptr) tls_.emplace(socket_, *tls);
  }
  Stream(const Stream&) = delete;  // tls_ refers to socket_
  Stream& operator=(const Stream&) = delete;

  bool has_tls() const { return tls_.has_value(); }
  Socket& socket() { return socket_; }
  int fd() { return socket_.native_handle(); }

  template <typename Done>
  void read_some(boost::asio::mutable_buffer into, Done done) {
    if (tls_) {
      tls_->async_read_some(into, std::move(done));
    } else {
      socket_.async_read_some(into, std::move(done));
    }
  }
  // Only with TLS:
  template <typename Done>
  void handshake(Done done) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::move(done));
  }
  template <typename Done>
  void write_some(boost::asio::const_buffer from, Done done) {
    tls_->async_write_some(from, std::move(done));
  }
  template <typename Done>
  void say_goodbye(Done done) {
    tls_->async_shutdown(std::move(done));
  }

  void end_sending() {
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
  void cancel() {
    boost::system::error_code ignored;
    socket_.cancel(ignored);
  }
  void close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace recblr::server
