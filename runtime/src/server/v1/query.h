// The part of a URL behind '?'.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recblr/recblr.hpp"

namespace recblr::server {

using QueryParameters = std::vector<std::pair<std::string, std::string>>;  // names and values, in order

// Percent-decoded; '+' is a space. Fails with kInvalidArgument where that is no UTF-8.
Expected<QueryParameters> read_query(std::string_view query);

// "k is '3x': give a whole number", and the like, where the text is none.
Expected<int64_t> read_whole_number(std::string_view name, std::string_view text);
Expected<bool> read_bool(std::string_view name, std::string_view text);

}  // namespace recblr::server
