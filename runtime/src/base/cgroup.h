// The CPU quota of this process's control groups.
#pragma once

#include <string>

namespace recblr {

// CPUs' worth of time, such as 1.5, that the strictest of the process's own control group and the groups above it
// allows, of cgroups v1 (cpu.cfs_quota_us) and v2 (cpu.max); infinity where none sets a limit, or where the files
// cannot be read. `root` is the folder in which the system's files are found: "" for the machine's own, another for
// tests.
double cgroup_cpus(const std::string& root);

}  // namespace recblr
