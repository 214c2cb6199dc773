// The exact ranking of a catalogue, for what has checked its arguments.
#pragma once

#include "recblr/plugins.h"

namespace recblr {

// As recblr_top_items_cpu, of arguments that are in range. Throws std::bad_alloc.
int top_items(const recblr_top_items& arguments);

}  // namespace recblr
