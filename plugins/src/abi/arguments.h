// The checks of all arguments that the functions of the C ABI are given.
//
// Each function throws std::invalid_argument, whose message names in one line what is wrong and its value, for
// `guarded` to make a status of; NULL for the arguments is wrong, too. What `checked` returns can be read safely.
#pragma once

#include <cstdint>
#include <string>

#include "recblr/plugins.h"

namespace recblr {

// Throws std::invalid_argument with this message.
[[noreturn]] void refuse(const std::string& problem);

// Sizes, types and offsets, which are host memory.
const recblr_gated_scan& checked_on_host(const recblr_gated_scan* arguments);
const recblr_causal_conv1d& checked_on_host(const recblr_causal_conv1d* arguments);

// Sizes and types. Offsets are device memory: they cannot be read.
const recblr_gated_scan& checked_on_device(const recblr_gated_scan* arguments);
const recblr_causal_conv1d& checked_on_device(const recblr_causal_conv1d* arguments);
const recblr_state_move& checked_on_device(const recblr_state_move* arguments);

const recblr_dropout& checked(const recblr_dropout* arguments);
const recblr_cross_entropy& checked(const recblr_cross_entropy* arguments);

}  // namespace recblr
