#include "base/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

namespace recblr {
namespace {

// A folder with the files that the system would show.
class Cgroup : public testing::Test {
 protected:
  Cgroup() : root_(std::filesystem::temp_directory_path() / ("recblr_cgroup_" + std::to_string(getpid()))) {}
  ~Cgroup() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  double cpus() const { return cgroup_cpus(root_.string()); }

  const std::filesystem::path root_;
};

constexpr char kV2Mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST_F(Cgroup, IsUnlimitedWithoutAny) {
  EXPECT_TRUE(std::isinf(cpus()));
  write("proc/self/cgroup", "0::/a\n");
  write("proc/self/mountinfo", kV2Mount);
  EXPECT_TRUE(std::isinf(cpus()));
  write("sys/fs/cgroup/a/cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(cpus()));
}

TEST_F(Cgroup, TakesTheStrictestGroupOfVersion2) {
  write("proc/self/cgroup", "0::/a.slice/b\n");
  write("proc/self/mountinfo", "1 1 0:1 / / rw - ext4 /dev/root rw\n" + std::string(kV2Mount));
  write("sys/fs/cgroup/a.slice/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(cpus(), 1.5);
  write("sys/fs/cgroup/a.slice/cpu.max", "50000 100000\n");
  EXPECT_EQ(cpus(), 0.5);
  write("sys/fs/cgroup/a.slice/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/cpu.max", "120000 100000\n");
  EXPECT_EQ(cpus(), 1.2);
}

TEST_F(Cgroup, TakesTheStrictestGroupOfVersion1) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/docker/c\n4:memory:/docker/c\n0::/elsewhere\n");
  write("proc/self/mountinfo",
        "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/c/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/c/cpu.cfs_period_us", "100000\n");
  EXPECT_TRUE(std::isinf(cpus()));
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpus(), 2.5);
}

// As Docker shows them without a namespace of its own: the mount begins at the container's group.
TEST_F(Cgroup, FindsAGroupThatIsMountedItself) {
  write("proc/self/cgroup", "5:cpu:/docker/c\n");
  write("proc/self/mountinfo", "32 30 0:28 /docker/c /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpus(), 3.0);
  write("proc/self/cgroup", "5:cpu:/docker/c/inner\n");
  write("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "100000\n");
  write("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpus(), 1.0);
}

TEST_F(Cgroup, IgnoresFilesThatAreNoNumbers) {
  write("proc/self/cgroup", "nonsense\n0::/\n");
  write("proc/self/mountinfo", "nonsense - \n" + std::string(kV2Mount));
  write("sys/fs/cgroup/cpu.max", "none at all\n");
  EXPECT_TRUE(std::isinf(cpus()));
  write("sys/fs/cgroup/cpu.max", "100000 0\n");
  EXPECT_TRUE(std::isinf(cpus()));
}

}  // namespace
}  // namespace recblr
