// Replies that the handlers of /v1 and /v2 share.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "recblr/recblr.hpp"
#include "server/http/exchange.h"
#include "server/work/guarded.h"
#include "server/work/pool.h"

namespace recblr::server {

void reply_json(const ExchangePtr& exchange, std::string body);

// `reason` is static, for the record.
void reply_error(const ExchangePtr& exchange, int status, std::string_view reason, std::string_view message);

// With the status that fits. What is no fault of the client's is told to the log alone, but for passing states.
void reply_failure(const ExchangePtr& exchange, const Failure& failure);

// While there is no model yet.
void reply_loading(const ExchangePtr& exchange);

// As the one of work/guarded.h; what `work` throws is replied as an error.
void guarded(const ExchangePtr& exchange, const std::function<void()>& work);

// Runs `work` in the pool, guarded; `fail` is called instead where too much waits there, or the client leaves before.
void run_in_pool(Pool* pool, const ExchangePtr& exchange, std::function<void()> work, Fail fail);
void run_in_pool(Pool* pool, const ExchangePtr& exchange, std::function<void()> work);

}  // namespace recblr::server
