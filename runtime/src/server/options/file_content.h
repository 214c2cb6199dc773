// Small files that options name.
#pragma once

#include <string>

namespace recblr::server {

// All of the file at `path`, which `flag` has named. Throws UsageError if it cannot be read or has more than 1 MiB.
std::string file_content(const std::string& path, const std::string& flag);

}  // namespace recblr::server
