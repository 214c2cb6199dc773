// The whole server, from its start to its end.
#pragma once

#include "server/options/options.h"

namespace recblr::server {

// Listens, loads the model, answers until SIGTERM or SIGINT, and gives the process's exit status: 0 once every accepted
// request is answered, or 1, with a line in the log, where it cannot listen or load. SIGHUP loads the model again. A
// second signal to end, or `drain_timeout`, ends the process at once, and this function does not return.
// To be called once, in a process that has no other threads.
int serve(const Options& options);

}  // namespace recblr::server
