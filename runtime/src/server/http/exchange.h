// One request and its one reply.
#pragma once

#include <functional>
#include <memory>

#include "server/http/message.h"
#include "server/observe/record.h"

namespace recblr::server {

// Handlers get it as a shared_ptr, keep it as long as they work on the answer, and reply once, from any thread; a
// second reply is ignored. If the last one is let go without a reply, status 500 is sent.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;
  // What is told of the request in metrics, log and trace. The handler's until the reply.
  virtual RequestRecord& record() = 0;
  virtual void reply(Reply reply) = 0;
  // `gone` is called at most once, in any thread, if the client leaves before the reply; at once if it has left. It
  // is not begun after the reply, and may itself reply. It must not keep the exchange alive. A second one replaces the
  // first.
  virtual void on_client_gone(std::function<void()> gone) = 0;
  // Whether there is no use in working on it.
  virtual bool client_gone() const = 0;
};

using ExchangePtr = std::shared_ptr<Exchange>;
// Called in a thread that serves connections: it must not wait for anything. What throws is status 500, logged.
using Handler = std::function<void(const ExchangePtr&)>;

}  // namespace recblr::server
