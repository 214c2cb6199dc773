#pragma once

#include <cstdint>
#include <string>

namespace recblr::tests {

// The ids ranked for a history of one item, each with a blank behind; or the error's message.
std::string best_without_exceptions(const std::string& path, int64_t id, int64_t k);

// The same for a user whose history, in a store in the caller's code, has that item; "fail" as the user has the store
// fail.
std::string best_of_user_without_exceptions(const std::string& path, const std::string& user, int64_t id, int64_t k);

}  // namespace recblr::tests
