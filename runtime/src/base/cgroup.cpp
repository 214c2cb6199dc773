#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

namespace recblr {

namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// A mounted hierarchy of groups: the group at its top as the system numbers them, and the folder where that is.
struct Mount {
  std::string top, folder;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool holds(const std::vector<std::string>& parts, const std::string& part) {
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

// The group of this process in a hierarchy: of v1 with the controller "cpu", of v2 with none. Empty for none.
std::string own_group(const std::string& root, bool v2) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? controllers.empty() : holds(split(controllers, ','), "cpu")) return line.substr(second + 1);
  }
  return "";
}

// Where the hierarchy is mounted; an empty folder where it is not.
Mount find_mount(const std::string& root, bool v2) {
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    // id parent major:minor top folder options optional... - type source super-options
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> before = split(line.substr(0, dash), ' '), after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    if (v2 ? after[0] == "cgroup2" : after[0] == "cgroup" && holds(split(after[2], ','), "cpu")) {
      return {before[3], before[4]};
    }
  }
  return {};
}

// What one group allows.
double quota_of(const std::string& folder, bool v2) {
  double quota = 0.0, period = 0.0;
  if (v2) {
    std::ifstream file(folder + "/cpu.max");  // "max 100000" or "150000 100000"
    if (!(file >> quota >> period)) return kUnlimited;
  } else {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");  // -1: no limit
    if (!(quota_file >> quota) || !(period_file >> period)) return kUnlimited;
  }
  return quota > 0.0 && period > 0.0 ? quota / period : kUnlimited;
}

double hierarchy_cpus(const std::string& root, bool v2) {
  const Mount mount = find_mount(root, v2);
  std::string group = own_group(root, v2);
  if (mount.folder.empty() || group.empty()) return kUnlimited;
  // In a container the hierarchy may be mounted from the container's own group on, which is then its top.
  if (mount.top != "/") {
    const bool within = group == mount.top || group.rfind(mount.top + "/", 0) == 0;
    group = within ? group.substr(mount.top.size()) : "";
  }
  double least = kUnlimited;
  while (true) {
    least = std::min(least, quota_of(root + mount.folder + group, v2));
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos || group == "/") return least;
    group.resize(slash);
  }
}

}  // namespace

double cgroup_cpus(const std::string& root) {
  return std::min(hierarchy_cpus(root, false), hierarchy_cpus(root, true));
}

}  // namespace recblr
