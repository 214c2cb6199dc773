// Reads a request of recblr.h.
#pragma once

#include "api/handles.h"
#include "base/ids.h"
#include "engine/request.h"
#include "recblr/recblr.h"

namespace recblr::api {

// A request whose views point to what the caller gave, and to the result, which holds what had to be translated.
struct ReadRequest {
  Ids items, exclude, only;
  Request request;
};

// Fills `read`, which must not move. Throws Error(kInvalidArgument).
void read_request(const recblr_request* request, const Bundle& bundle, recblr_result* result, ReadRequest* read);

}  // namespace recblr::api
