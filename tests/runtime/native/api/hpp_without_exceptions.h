#pragma once

#include <cstdint>
#include <string>

namespace recblr::tests {

// The ids ranked for a history of one item, each with a blank behind; or the error's message.
std::string best_without_exceptions(const std::string& path, int64_t id, int64_t k);

}  // namespace recblr::tests
