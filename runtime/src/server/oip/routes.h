// Everything under /v2: the Open Inference Protocol, version 2, with its extensions for binary tensors and statistics.
#pragma once

#include <optional>

#include "server/http/router.h"
#include "server/model/models.h"
#include "server/oip/statistics.h"
#include "server/work/pool.h"
#include "serving/limits.h"

namespace recblr::server {

struct OipOptions {
  serving::QuestionLimits limits;
  std::optional<double> timeout;  // seconds that a request may wait at most, whatever it allows
};

// GET  /v2, /v2/health/live, /v2/health/ready, and /live and /ready for short
// GET  /v2/models/{name}, .../ready, .../stats, each with /versions/{version} after the name, too; /v2/models/stats
// POST /v2/models/{name}/infer, with /versions/{version}, too; /v2/repository/index
// What is given must outlive the routes' last request.
void add_oip_routes(Router* router, const Models* models, Pool* pool, OipStatistics* statistics,
                    const OipOptions& options);

}  // namespace recblr::server
