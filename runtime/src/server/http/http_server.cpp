#include "server/http/http_server.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "recblr/recblr.hpp"
#include "server/http/listener.h"
#include "server/http/loop.h"
#include "server/http/tls.h"

namespace recblr::server {
namespace {

constexpr double kDropTime = 0.2;  // seconds, at most, until all connections are dropped

HttpOptions completed(HttpOptions options) {
  if (options.threads <= 0) options.threads = std::max(1, usable_cpus());
  if (!options.warn) options.warn = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  return options;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpOptions& options, const Router& router, Observer* observer)
      : state_(std::make_shared<ServerState>(completed(options), router, observer)) {
    raise_file_limit(options.limits);
    const TlsFiles& tls = options.tls;
    if (!tls.certificate.empty() || !tls.key.empty() || !tls.client_ca.empty()) state_->tls = make_tls(tls);
    for (int j = 0; j < state_->options.threads; ++j) loops_.push_back(std::make_shared<Loop>(state_));
    // "0.0.0.0" or "localhost" and "[::]" with one port shall not be in each other's way.
    const auto n_over_tcp = std::count_if(options.addresses.begin(), options.addresses.end(),
                                          [](const std::string& address) { return !is_unix_address(address); });
    for (const std::string& address : options.addresses) {
      for (ListeningSocket& socket : listen_at(address, n_over_tcp == 1)) {
        urls_.push_back(socket.url(state_->tls ? "https" : "http"));
        listeners_.push_back(std::make_unique<Listener>(std::move(socket), loops_));
      }
    }
  }

  ~Impl() {
    drain(0);
    for (const auto& loop : loops_) loop->end();
    listeners_.clear();
  }

  void start() {
    for (const auto& listener : listeners_) listener->wait();
    for (const auto& loop : loops_) loop->start();
    started_ = true;
  }

  int64_t drain(double timeout) {
    const Clock::time_point deadline = in_seconds(timeout);
    state_->draining = true;
    if (!started_) return 0;
    loops_.front()->post([this] {
      for (const auto& listener : listeners_) listener->drain();
    });
    // Those that the listeners take now know it from the start.
    for (const auto& loop : loops_) loop->post([loop = loop.get()] { loop->drain(); });
    if (wait_until(deadline)) return 0;
    const int64_t n_unanswered = state_->concurrent;
    loops_.front()->post([this] {
      for (const auto& listener : listeners_) listener->close();
    });
    for (const auto& loop : loops_) loop->post([loop = loop.get()] { loop->drop_all(); });
    wait_until(in_seconds(kDropTime));
    // Clients may have left requests that are being answered.
    return std::max<int64_t>(n_unanswered, state_->dropped);
  }

  const std::vector<std::string>& urls() const { return urls_; }
  int64_t connections() const { return state_->connections; }

 private:
  // Whether all connections are closed.
  bool wait_until(Clock::time_point deadline) {
    std::unique_lock lock(state_->mutex);
    return state_->changed.wait_until(lock, deadline,
                                      [this] { return state_->listeners == 0 && state_->connections == 0; });
  }

  const std::shared_ptr<ServerState> state_;
  std::vector<std::shared_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::string> urls_;
  bool started_ = false;
};

HttpServer::HttpServer(const HttpOptions& options, const Router& router, Observer* observer)
    : impl_(std::make_unique<Impl>(options, router, observer)) {}
HttpServer::~HttpServer() = default;
const std::vector<std::string>& HttpServer::urls() const { return impl_->urls(); }
void HttpServer::start() { impl_->start(); }
int64_t HttpServer::drain(double timeout) { return impl_->drain(timeout); }
int64_t HttpServer::connections() const { return impl_->connections(); }

}  // namespace recblr::server
