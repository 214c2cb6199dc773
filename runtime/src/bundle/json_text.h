// Values of JSON in messages, as Python's repr writes them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace recblr {

// The first 60 characters or so: "None", "[10, 4]", "{'dim': 1.5}".
std::string shown_json(const nlohmann::json& value);

}  // namespace recblr
