#include "server/observe/process.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace recblr::server {

namespace {

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// Field `number` of /proc/self/stat, as proc(5) counts them, from 3 on.
double stat_field(int number) {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  size_t at = line.rfind(')');  // the program's name may hold spaces
  for (int field = 2; at != std::string::npos && field < number; ++field) at = line.find(' ', at + 1);
  return at == std::string::npos ? 0 : std::strtod(line.c_str() + at, nullptr);
}

// Of this process, in seconds since 1970.
double start_time() {
  static const double started = [] {
    timespec up{};
    clock_gettime(CLOCK_BOOTTIME, &up);
    const double age = static_cast<double>(up.tv_sec) + static_cast<double>(up.tv_nsec) * 1e-9 -
                       stat_field(22) / static_cast<double>(sysconf(_SC_CLK_TCK));
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count() - age;
  }();
  return started;
}

double open_files() {
  std::error_code failed;
  double count = -1;  // the listing's own
  for (std::filesystem::directory_iterator file("/proc/self/fd", failed), end; !failed && file != end;
       file.increment(failed)) {
    ++count;
  }
  return count < 0 ? 0 : count;
}

}  // namespace

void add_process(Families* families) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  append_counter(families, "process_cpu_seconds_total", "CPU time of the process, user's and system's.", cpu_seconds());
  append_gauge(families, "process_resident_memory_bytes", "Memory of the process.",
               stat_field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  append_gauge(families, "process_virtual_memory_bytes", "Address space of the process.", stat_field(23));
  append_gauge(families, "process_threads", "Threads of the process.", stat_field(20));
  append_gauge(families, "process_open_fds", "Open file descriptors.", open_files());
  append_gauge(families, "process_max_fds", "Most file descriptors that may be open.",
               static_cast<double>(files.rlim_cur));
  append_gauge(families, "process_start_time_seconds", "When the process started, in seconds since 1970.",
               start_time());
}

}  // namespace recblr::server
