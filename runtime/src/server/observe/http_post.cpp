#include "server/observe/http_post.h"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <chrono>
#include <memory>

#include "serving/text.h"

namespace recblr::server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr uint64_t kLongestAnswer = 1 << 20;

// One request, from its look-up to its answer. What runs is kept by its handlers.
template <typename Stream>
class Exchange : public std::enable_shared_from_this<Exchange<Stream>> {
 public:
  template <typename... Arguments>
  Exchange(asio::io_context* context, const Url& url, http::request<http::string_body> request,
           std::chrono::steady_clock::time_point deadline, Arguments&&... arguments)
      : url_(url),
        request_(std::move(request)),
        deadline_(deadline),
        resolver_(*context),
        stream_(*context, std::forward<Arguments>(arguments)...) {
    parser_.body_limit(kLongestAnswer);
  }

  void start() {
    resolver_.async_resolve(url_.host, url_.port, then([this](const auto& addresses) { connect(addresses); }));
  }
  bool has_answer() const { return parser_.is_done(); }
  int status() const { return static_cast<int>(parser_.get().result_int()); }
  const error_code& failed() const { return failed_; }
  Stream& stream() { return stream_; }

 private:
  // A handler that goes on with `next`, unless something failed.
  template <typename Next>
  auto then(Next next) {
    return [self = this->shared_from_this(), next](const error_code& failed, const auto&... what) {
      if (failed) {
        self->failed_ = failed;
      } else {
        next(what...);
      }
    };
  }

  void connect(const asio::ip::tcp::resolver::results_type& addresses) {
    beast::get_lowest_layer(stream_).expires_at(deadline_);
    beast::get_lowest_layer(stream_).async_connect(addresses, then([this](const auto&) { handshake(); }));
  }

  void handshake() {
    if constexpr (std::is_same_v<Stream, beast::tcp_stream>) {
      write();
    } else {
      stream_.async_handshake(asio::ssl::stream_base::client, then([this] { write(); }));
    }
  }

  void write() {
    http::async_write(stream_, request_, then([this](size_t) { read(); }));
  }
  void read() {
    http::async_read(stream_, buffer_, parser_, then([](size_t) {}));
  }

  const Url url_;
  http::request<http::string_body> request_;
  const std::chrono::steady_clock::time_point deadline_;
  asio::ip::tcp::resolver resolver_;
  Stream stream_;
  beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  error_code failed_ = asio::error::timed_out;
};

template <typename Stream>
Expected<int> outcome(asio::io_context* context, const std::shared_ptr<Exchange<Stream>>& exchange, double timeout) {
  exchange->start();
  context->run_for(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(timeout)));
  if (exchange->has_answer()) return exchange->status();
  return Failure{Status::kInternal, exchange->failed().message()};
}

Failure no_url(std::string_view text) {
  // A user's name and password would be in messages and logs.
  const std::string what = text.find('@') != std::string_view::npos
                               ? "a URL with a user's name or password is not taken"
                               : serving::shown(text) + " is no URL";
  return {Status::kBadConfig, what + ": give one as http://localhost:4318"};
}

bool is_port(const std::string& text) {
  const char* end = text.data() + text.size();
  unsigned number = 0;
  const std::from_chars_result read = std::from_chars(text.data(), end, number);
  return read.ec == std::errc() && read.ptr == end && number >= 1 && number <= 65535;
}

}  // namespace

Expected<Url> read_url(std::string_view text) {
  Url url;
  std::string_view rest = text;
  const auto skip = [&rest](std::string_view start) {
    if (rest.substr(0, start.size()) != start) return false;
    rest.remove_prefix(start.size());
    return true;
  };
  url.is_https = skip("https://");
  if (!url.is_https && !skip("http://")) return no_url(text);
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, end);
  url.path = std::string(rest.substr(end));
  if (url.path.empty() || url.path[0] != '/') url.path.insert(0, "/");
  const size_t bracket = authority.rfind(']'), colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  url.port = has_port ? std::string(authority.substr(colon + 1)) : url.is_https ? "443" : "80";
  if (has_port) authority = authority.substr(0, colon);
  if (!authority.empty() && authority.front() == '[') {
    if (authority.back() != ']') return no_url(text);
    authority = authority.substr(1, authority.size() - 2);
  }
  url.host = std::string(authority);
  if (url.host.empty() || !is_port(url.port) || text.find_first_of("@ \r\n") != std::string_view::npos)
    return no_url(text);
  return url;
}

Expected<void> check_trusted(const std::string& trusted) {
  if (trusted.empty()) return {};
  error_code failed;
  asio::ssl::context(asio::ssl::context::tls_client).load_verify_file(trusted, failed);
  if (!failed) return {};
  return Failure{Status::kBadConfig, serving::shown(trusted) + " holds no certificates that can be read (" +
                                         failed.message() + "): give a file in PEM format"};
}

Expected<int> post(const Url& url, const Headers& headers, const std::string& trusted, std::string body,
                   double timeout) {
  try {
    http::request<http::string_body> request(http::verb::post, url.path, 11);
    const bool is_ipv6 = url.host.find(':') != std::string::npos;
    request.set(http::field::host, (is_ipv6 ? "[" + url.host + "]" : url.host) + ":" + url.port);
    request.set(http::field::user_agent, "recblr-serve");
    request.set(http::field::connection, "close");
    for (const auto& [name, value] : headers) request.set(name, value);
    request.body() = std::move(body);
    request.prepare_payload();

    asio::io_context context;
    const auto deadline =
        std::chrono::steady_clock::now() +
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(timeout));
    if (!url.is_https) {
      return outcome(&context,
                     std::make_shared<Exchange<beast::tcp_stream>>(&context, url, std::move(request), deadline),
                     timeout);
    }
    asio::ssl::context tls(asio::ssl::context::tls_client);
    if (trusted.empty()) {
      tls.set_default_verify_paths();
    } else {
      tls.load_verify_file(trusted);
    }
    tls.set_verify_mode(asio::ssl::verify_peer);
    const auto exchange = std::make_shared<Exchange<beast::ssl_stream<beast::tcp_stream>>>(
        &context, url, std::move(request), deadline, tls);
    exchange->stream().set_verify_callback(asio::ssl::host_name_verification(url.host));
    error_code no_address;  // of those the extension takes none
    asio::ip::make_address(url.host, no_address);
    if (no_address) SSL_set_tlsext_host_name(exchange->stream().native_handle(), url.host.c_str());
    return outcome(&context, exchange, timeout);
  } catch (const std::exception& error) {
    return Failure{Status::kInternal, error.what()};
  }
}

}  // namespace recblr::server
