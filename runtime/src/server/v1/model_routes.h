// /v1/model: what is served, and how another model takes its place.
#pragma once

#include "server/http/exchange.h"
#include "server/model/models.h"
#include "server/work/pool.h"

namespace recblr::server {

void reply_model(const Models& models, const ExchangePtr& exchange);  // GET /v1/model
// POST /v1/model/reload; with `any_path`, of whatever bundle the body names.
void reload_model(Models* models, Pool* pool, bool any_path, const ExchangePtr& exchange);
void rollback_model(Models* models, Pool* pool, const ExchangePtr& exchange);  // POST /v1/model/rollback

}  // namespace recblr::server
