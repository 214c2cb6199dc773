// What can be wrong with a ranking's arguments.
#pragma once

#include <string>

#include "recblr/plugins.h"

namespace recblr {

// Empty where nothing is.
std::string problem_with(const recblr_top_items& arguments);

}  // namespace recblr
