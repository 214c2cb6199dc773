// Options by name.
#pragma once

#include <string>
#include <vector>

#include "server/options/option.h"

namespace recblr::server {

// By its name or alias; nullptr where there is none.
Option* find_option(const std::string& name, std::vector<Option>* list);

// The name or alias that is nearest to one that nothing has; "" where none is near.
std::string nearest_name(const std::string& name, const std::vector<Option>& list);

}  // namespace recblr::server
