// Rankings as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "recblr/recblr.hpp"

namespace recblr::server {

// How many items all rows of a result rank.
int64_t n_results(const Result& result);

// {"rankings": [{"items": [...], "scores": [...], "popular": false, "unknown": 0}, ...], "model": "sha256:..."}
std::string rankings_text(const Result& result);

// {"items": [...], "scores": [...], "popular": false, "model": "sha256:..."}, of a result's only row.
std::string user_ranking_text(const Result& result);

}  // namespace recblr::server
