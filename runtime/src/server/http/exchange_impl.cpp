#include "server/http/exchange_impl.h"

#include <utility>

namespace recblr::server {

ExchangeImpl::ExchangeImpl(std::shared_ptr<ReplySink> sink, Request request, RequestRecord record, Share concurrent,
                           Share body)
    : sink_(std::move(sink)),
      concurrent_(std::move(concurrent)),
      body_(std::move(body)),
      request_(std::move(request)),
      record_(std::move(record)) {}

ExchangeImpl::~ExchangeImpl() {
  if (replied_) return;
  concurrent_.resize(0);
  try {
    if (record_.detail.empty() && !gone_) record_.detail = "a handler let go of the request without a reply";
    sink_->answer(error_reply(500, "the server lost this request: try again, and tell whoever runs it"),
                  std::move(record_));
  } catch (...) {
    sink_->lose();
  }
}

bool ExchangeImpl::begin_reply() {
  std::function<void()> no_longer_called;  // goes without the lock
  const std::lock_guard lock(mutex_);
  no_longer_called.swap(on_gone_);
  concurrent_.resize(0);
  return !std::exchange(replied_, true);
}

void ExchangeImpl::reply(Reply reply) {
  if (begin_reply()) sink_->answer(std::move(reply), std::move(record_));
}

void ExchangeImpl::fail(std::string_view what) {
  if (!begin_reply()) return;
  try {
    record_.detail = what;
    sink_->answer(error_reply(500, "the server failed at this request: tell whoever runs it"), std::move(record_));
  } catch (...) {
    sink_->lose();
  }
}

void ExchangeImpl::on_client_gone(std::function<void()> gone) {
  {
    const std::lock_guard lock(mutex_);
    if (replied_) return;
    if (!gone_) {
      on_gone_.swap(gone);
      return;
    }
  }
  gone();
}

bool ExchangeImpl::client_gone() const {
  const std::lock_guard lock(mutex_);
  return gone_;
}

void ExchangeImpl::leave() {
  std::function<void()> gone;
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    if (replied_) return;
    gone.swap(on_gone_);
  }
  if (gone) gone();
}

}  // namespace recblr::server
