// The exact ranking of a catalogue, for those inside the library.
#pragma once

#include "recblr/plugins.h"

namespace recblr {

// As recblr_top_items_cpu, of arguments that were checked. Throws std::bad_alloc, and as instruction_set() does.
void top_items(const recblr_top_items& arguments);

}  // namespace recblr
