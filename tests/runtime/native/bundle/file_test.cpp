#include "bundle/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "bundle/toy_bundle.h"

namespace recblr {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::write_file;

constexpr char kAdvice[] = ": copy the bundle again, or export it again";

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    std::string name = (fs::temp_directory_path() / "recblr-file-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    path_ = (folder_ / "file").string();
  }
  ~FileTest() override { fs::remove_all(folder_); }

  static std::string content_of(size_t size) {
    std::string content(size, '\0');
    for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251);
    return content;
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(FileTest, Hashes) {
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  write_file(path_, "abc");
  EXPECT_EQ(sha256_of_file(path_), sha256_of("abc"));
  EXPECT_EQ(size_of_file(path_), 3);
}

TEST_F(FileTest, ACopyHoldsTheContentWhateverItsSize) {
  const size_t most = static_cast<size_t>(FileCopy::kLargestInMemory);
  for (const size_t size : {size_t{0}, size_t{1}, most - 1, most, most + 1, 3 * most + 5}) {
    const std::string content = content_of(size);
    write_file(path_, content);
    for (const FileCopy& copy : {FileCopy::of(path_), FileCopy::in_memory(path_)}) {
      EXPECT_EQ(copy.content(), content);
      EXPECT_EQ(copy.sha256(), sha256_of(content));
    }
  }
}

TEST_F(FileTest, NoChangeOfTheFileReachesACopy) {
  for (const size_t size : {size_t{1000}, size_t{3} << 20}) {
    const std::string content = content_of(size);
    write_file(path_, content);
    FileCopy copy = FileCopy::of(path_);
    const std::string_view view = copy.content();
    write_file(path_, std::string(size, 'x'));
    EXPECT_EQ(view, content);
    ASSERT_EQ(truncate(path_.c_str(), 0), 0);
    EXPECT_EQ(view, content);
    fs::remove(path_);
    EXPECT_EQ(view, content);
    const FileCopy moved = std::move(copy);
    EXPECT_EQ(moved.content(), content);
  }
}

TEST_F(FileTest, NothingIsLeftBesideIt) {
  write_file(path_, content_of(size_t{2} << 20));
  const FileCopy copy = FileCopy::of(path_);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(FileTest, WhereNoFolderTakesIt) {
  write_file(path_, content_of(size_t{2} << 20));
  ASSERT_EQ(chmod(folder_.c_str(), 0500), 0);
  setenv("TMPDIR", "/proc", 1);
  const FileCopy copy = FileCopy::of(path_);
  unsetenv("TMPDIR");
  chmod(folder_.c_str(), 0700);
  EXPECT_EQ(copy.content(), content_of(size_t{2} << 20));
}

TEST_F(FileTest, WhatCannotBeRead) {
  for (const auto read : {+[](const std::string& path) { FileCopy::of(path); },
                          +[](const std::string& path) { FileCopy::in_memory(path); },
                          +[](const std::string& path) { sha256_of_file(path); }}) {
    EXPECT_EQ(error_of([&] { read(path_); }), path_ + " is missing" + kAdvice);
    EXPECT_EQ(error_of([&] { read(folder_.string()); }), folder_.string() + " is no regular file" + kAdvice);
    const std::string pipe = (folder_ / "pipe").string();
    mkfifo(pipe.c_str(), 0600);
    EXPECT_EQ(error_of([&] { read(pipe); }), pipe + " is no regular file" + kAdvice);
    fs::remove(pipe);
    write_file(path_, "abc");
    chmod(path_.c_str(), 0);
    if (geteuid() != 0) {
      EXPECT_EQ(error_of([&] { read(path_); }), path_ + " cannot be read: Permission denied");
    }
    fs::remove(path_);
  }
  EXPECT_EQ(error_of([&] { size_of_file(path_); }), path_ + " is missing" + kAdvice);
  EXPECT_EQ(error_of([&] { size_of_file(std::string(5000, 'x')); }),
            std::string(5000, 'x') + " cannot be read: File name too long");
}

TEST_F(FileTest, AFileThatIsLongerThanItSays) {  // as those of /proc, whose size is 0
  EXPECT_EQ(error_of([] { FileCopy::of("/proc/self/stat"); }),
            "/proc/self/stat changed while it was read: open the bundle once it is written");
}

}  // namespace
}  // namespace recblr
