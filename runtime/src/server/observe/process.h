// What this process takes of its machine.
#pragma once

#include "server/observe/families.h"

namespace recblr::server {

// Under the names that Prometheus' own libraries use: process_resident_memory_bytes, process_cpu_seconds_total, ...
void add_process(Families* families);

}  // namespace recblr::server
