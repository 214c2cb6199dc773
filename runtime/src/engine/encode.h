// Turns what callers give into what a backend takes: items, exclusions, allow-lists. Errors name the value.
#pragma once

#include <memory>

#include "bundle/bundle.h"
#include "engine/request.h"

namespace recblr {

// Fills n_rows, k, items, exclude, only, allowed, has_only, held, unknown, states and new_states of `work`. Throws
// Error(kInvalidArgument): k out of range, another number of rows, states that are not finite, or ids as
// Vocabulary::encode_row refuses them, with the row before: "histories[1]: item id ...".
void encode_request(const Request& request, const std::shared_ptr<const Bundle>& bundle, Work* work);

// Appends the indices of each row's known ids to `indices`, and sets offsets [B + 1] and, if it is not nullptr, unknown
// [B]. Errors begin with "<name>[<row>]: ".
void encode_rows(const Vocabulary& vocabulary, const Ids& ids, const char* name, std::vector<int32_t>* indices,
                 std::vector<int64_t>* offsets, std::vector<int64_t>* unknown);

}  // namespace recblr
