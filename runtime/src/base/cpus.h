// How many CPUs this process may use.
#pragma once

namespace recblr {

// The CPUs of its affinity mask, at most as many as the quota of its control group (cgroups v1 and v2) rounded up; at
// least 1. Read anew at each call.
int usable_cpus();

}  // namespace recblr
