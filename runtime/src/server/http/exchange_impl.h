// An exchange as connections make it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "server/http/exchange.h"
#include "server/http/share.h"

namespace recblr::server {

// Who sends a reply.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  // One of both is called once per exchange, in any thread. Neither throws.
  virtual void answer(Reply reply, RequestRecord record) noexcept = 0;
  virtual void lose() noexcept = 0;  // there is no memory for a reply
};

class ExchangeImpl final : public Exchange {
 public:
  // `concurrent` is given back with the reply, `body` once nobody needs the request any more.
  ExchangeImpl(std::shared_ptr<ReplySink> sink, Request request, RequestRecord record, Share concurrent, Share body);
  ~ExchangeImpl() override;

  const Request& request() const override { return request_; }
  RequestRecord& record() override { return record_; }
  void reply(Reply reply) override;
  void on_client_gone(std::function<void()> gone) override;
  bool client_gone() const override;

  // The sink's: the client has left; the handler threw `what`.
  void leave();
  void fail(std::string_view what);

 private:
  // Whether a reply may be made, by the caller.
  bool begin_reply();

  const std::shared_ptr<ReplySink> sink_;
  Share concurrent_;
  const Share body_;
  Request request_;
  RequestRecord record_;

  mutable std::mutex mutex_;
  bool replied_ = false, gone_ = false;
  std::function<void()> on_gone_;
};

}  // namespace recblr::server
