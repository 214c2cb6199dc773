// Everything under /v1, and the pages for people.
#pragma once

#include <cstdint>
#include <optional>

#include "server/http/router.h"
#include "server/model/models.h"
#include "server/work/pool.h"
#include "serving/limits.h"

namespace recblr::server {

struct V1Options {
  serving::QuestionLimits limits;
  int64_t max_body_bytes = 32 * 1024 * 1024;  // HttpLimits', for the API's description
  bool reloads_any_path = true;               // whether a reload may name the bundle's folder
  std::optional<double> timeout;              // the engine's, seconds: for requests that wait for the store, too
};

// POST /v1/recommend, /v1/users/..., /v1/model... Calls of the store wait in `users_pool`. What is given must outlive
// the routes' last request.
void add_v1_routes(Router* router, Models* models, Pool* pool, Pool* users_pool, const V1Options& options);

// The status page at /, the API's description at /docs, /openapi.json and /v1/openapi.json.
void add_page_routes(Router* router, const Models* models, const V1Options& options);

}  // namespace recblr::server
