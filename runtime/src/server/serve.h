// The whole server, from its start to its end.
#pragma once

#include "server/options/options.h"

namespace recblr::server {

// Listens, loads the model, answers until SIGTERM or SIGINT, and gives the process's exit status: 0 once every accepted
// request is answered, or 1, with a line in the log, where it cannot listen or load, or where requests are left after
// `drain_timeout`. SIGHUP loads the model again. A second signal to end ends the process at once, with its status of
// that signal. Where something is left that may never end, this function ends the process and does not return.
// To be called once, in a process that has no other threads.
int serve(const Options& options);

}  // namespace recblr::server
