// Replies that /v1's handlers share.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "recblr/recblr.hpp"
#include "server/http/exchange.h"
#include "server/work/pool.h"

namespace recblr::server {

void reply_json(const ExchangePtr& exchange, std::string body);

// `reason` is static, for the record.
void reply_error(const ExchangePtr& exchange, int status, std::string_view reason, std::string_view message);

// With the status that fits. What is no fault of the client's and no passing state is told to the log alone.
void reply_failure(const ExchangePtr& exchange, const Failure& failure);

// While there is no model yet.
void reply_loading(const ExchangePtr& exchange);

// Runs `work` now; what it throws is replied as an error.
void guarded(const ExchangePtr& exchange, const std::function<void()>& work);

// Runs `work` in the pool, guarded, unless the client leaves before; replies 503 where too much waits there.
void run_in_pool(Pool* pool, const ExchangePtr& exchange, std::function<void()> work);

}  // namespace recblr::server
