#include "server/options/options.h"

namespace recblr::server {

CommandLine parse_options(int, const char* const*) { return {Options(), "", 0}; }

}  // namespace recblr::server
