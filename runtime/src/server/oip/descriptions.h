// What /v2 says of the server and its model, as JSON.
#pragma once

#include <string>

#include "server/model/served_model.h"
#include "server/oip/statistics.h"

namespace recblr::server {

std::string server_metadata_text();
std::string model_metadata_text(const ServedModel& model);
// In the form of Triton's statistics extension.
std::string statistics_text(const ServedModel& model, const OipStatistics& statistics);
// In the form of Triton's model repository extension. `is_ready`: whether requests are welcome.
std::string repository_index_text(const ServedModel* model, bool is_ready);

}  // namespace recblr::server
