// /v1/model: what is served, and how another model takes its place.
#pragma once

#include "server/http/exchange.h"
#include "server/model/models.h"
#include "server/work/pool.h"

namespace recblr::server {

void reply_model(const Models& models, const ExchangePtr& exchange);           // GET /v1/model
void reload_model(Models* models, Pool* pool, const ExchangePtr& exchange);    // POST /v1/model/reload
void rollback_model(Models* models, Pool* pool, const ExchangePtr& exchange);  // POST /v1/model/rollback

}  // namespace recblr::server
