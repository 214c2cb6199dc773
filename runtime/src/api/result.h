// The memory of an answer, while a request is answered in it.
#pragma once

#include "api/handles.h"

namespace recblr::api {

// Takes a result for one request; throws Error(kInvalidArgument) where another has it, or it is nullptr.
void claim(recblr_result* result);
void release(recblr_result* result, bool is_answered);

// Writes the item ids of what `result->work` ranked.
void decode(recblr_result* result);

}  // namespace recblr::api
