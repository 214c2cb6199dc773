// Requests without a connection, for tests of handlers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "server/http/exchange.h"

namespace recblr::server {

class FakeExchange : public Exchange {
 public:
  explicit FakeExchange(std::string body = "") { request_.body = std::move(body); }
  explicit FakeExchange(Request request) : request_(std::move(request)) {}

  const Request& request() const override { return request_; }
  RequestRecord& record() override { return record_; }
  void reply(Reply reply) override {
    std::function<void()> forgotten;  // outside of the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    if (reply_) return;
    reply_ = std::move(reply);
    gone_.swap(forgotten);
    replied_.notify_all();
  }
  void on_client_gone(std::function<void()> gone) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (reply_) return;
      if (!has_left_) {
        gone_ = std::move(gone);
        return;
      }
    }
    gone();
  }
  bool client_gone() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return has_left_;
  }

  // What a client does.
  void leave() {
    std::function<void()> gone;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      has_left_ = true;
      gone.swap(gone_);
    }
    if (gone) gone();
  }
  Reply wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!replied_.wait_for(lock, std::chrono::seconds(60), [this] { return reply_.has_value(); })) {
      throw std::runtime_error("no reply came");
    }
    return *reply_;
  }
  bool has_reply() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reply_.has_value();
  }

 private:
  Request request_;
  RequestRecord record_;
  mutable std::mutex mutex_;
  std::condition_variable replied_;
  std::optional<Reply> reply_;
  std::function<void()> gone_;
  bool has_left_ = false;
};

}  // namespace recblr::server
