// A request without a connection, for tests of handlers.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "server/http/exchange.h"
#include "server/http/router.h"

namespace recblr::server {

class FakeExchange : public Exchange {
 public:
  explicit FakeExchange(Request request) : request_(std::move(request)) {}
  const Request& request() const override { return request_; }
  RequestRecord& record() override { return record_; }
  void reply(Reply reply) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (reply_) return;
    reply_ = std::move(reply);
    changed_.notify_all();
  }
  void on_client_gone(std::function<void()> gone) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (reply_) return;
      if (!gone_) {
        on_gone_ = std::move(gone);
        changed_.notify_all();
        return;
      }
    }
    gone();
  }
  bool client_gone() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return gone_;
  }

  // The client leaves, once the handler has said what is then to be done.
  void leave() {
    std::function<void()> gone;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return reply_ || on_gone_ != nullptr; });
      gone_ = true;
      gone = std::exchange(on_gone_, nullptr);
    }
    if (gone) gone();
  }
  Reply wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return reply_.has_value(); });
    return *reply_;
  }

 private:
  const Request request_;
  RequestRecord record_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> on_gone_;
  bool gone_ = false;
  std::optional<Reply> reply_;
};

// Gives a request to the handler of its path.
inline std::shared_ptr<FakeExchange> begin(const Router& router, Request request) {
  std::string allowed;
  const Route* const route = router.find(request.method, request.path, &request.parameters, &allowed);
  const auto exchange = std::make_shared<FakeExchange>(std::move(request));
  if (route == nullptr) {
    exchange->reply(error_reply(allowed.empty() ? 404 : 405, "no route"));
  } else {
    route->handler(exchange);
  }
  return exchange;
}

}  // namespace recblr::server
