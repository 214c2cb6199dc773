// What is thrown, as a failure.
#pragma once

#include <functional>

#include "recblr/recblr.hpp"

namespace recblr::server {

using Fail = std::function<void(const Failure&)>;

// Runs `work` now; `fail` gets what it throws.
void guarded(const std::function<void()>& work, const Fail& fail);

}  // namespace recblr::server
