// Rankings as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "recblr/recblr.hpp"
#include "serving/question.h"

namespace recblr::server {

// Of an answered question:
// {"rankings": [{"items": [...], "scores": [...], "popular": false, "unknown": 0}, ...], "model": "sha256:..."}
std::string rankings_text(const serving::Question& question);

// {"items": [...], "scores": [...], "popular": false, "model": "sha256:..."}, of a result's only row.
std::string user_ranking_text(const Result& result);

}  // namespace recblr::server
