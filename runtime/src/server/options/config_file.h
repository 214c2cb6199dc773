// The file of --config: TOML, whose keys are the flags' names without dashes before them.
#pragma once

#include <string>
#include <vector>

#include "server/options/option.h"

namespace recblr::server {

// Sets those of `list` that the file names. Throws UsageError with the file, the line, the key and what is possible.
void read_config_file(const std::string& path, std::vector<Option>* list);

// All of `list` as such a file, each with where it comes from; secrets as ***.
std::string config_text(const std::vector<Option>& list);

}  // namespace recblr::server
