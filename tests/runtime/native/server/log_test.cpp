#include "server/observe/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace recblr::server {
namespace {

// A pipe of which the test reads.
class LogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(pipe(files_), 0);
    signal(SIGPIPE, SIG_IGN);
  }
  void TearDown() override {
    for (const int file : files_) close(file);
  }
  std::string read_all() {
    fcntl(files_[0], F_SETFL, O_NONBLOCK);
    std::string text;
    char part[4096];
    for (ssize_t n; (n = read(files_[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
    return text;
  }

  int files_[2] = {-1, -1};
};

TEST_F(LogTest, ALineOfJsonForEachThing) {
  Log log(LogFormat::kJson, LogLevel::kInfo, files_[1]);
  log.write(LogLevel::kInfo, "reload", "it's \"new\"\n", {{"path", "a b"}, {"version", int64_t{2}}, {"seconds", 0.5}});
  log.write(LogLevel::kDebug, "less", "");
  log.write(LogLevel::kError, "load", "");
  log.flush(5);
  const std::string text = read_all();
  const size_t end = text.find('\n');
  const boost::json::object line = boost::json::parse(text.substr(0, end)).as_object();
  EXPECT_EQ(line.at("level"), "info");
  EXPECT_EQ(line.at("event"), "reload");
  EXPECT_EQ(line.at("message"), "it's \"new\"\n");
  EXPECT_EQ(line.at("path"), "a b");
  EXPECT_EQ(line.at("version"), 2);
  EXPECT_EQ(line.at("seconds"), 0.5);
  const std::string time(line.at("time").as_string());
  EXPECT_EQ(time.size(), std::string("2026-01-31T12:00:00.123Z").size());
  EXPECT_EQ(time[10], 'T');
  const boost::json::object other = boost::json::parse(text.substr(end + 1)).as_object();
  EXPECT_EQ(other.at("event"), "load");
  EXPECT_FALSE(other.contains("message"));
}

TEST_F(LogTest, TextForPeopleStaysOnOneLine) {
  Log log(LogFormat::kText, LogLevel::kWarning, files_[1]);
  log.write(LogLevel::kInfo, "less", "");
  log.write(LogLevel::kWarning, "reload", "two\nlines", {{"path", "a b"}, {"name", "x"}, {"seconds", 0.25}});
  log.flush(5);
  const std::string text = read_all();
  EXPECT_EQ(text.substr(text.find(' ')), " warning reload: two lines path=\"a b\" name=x seconds=0.25\n");
}

TEST_F(LogTest, NobodyWaitsForASlowReaderAndWhatIsLeftOutIsCounted) {
  const std::string kilobyte(1000, 'x');
  const auto began = std::chrono::steady_clock::now();
  {
    Log log(LogFormat::kJson, LogLevel::kInfo, files_[1]);
    for (int j = 0; j < 5000; ++j) log.write(LogLevel::kInfo, "x", kilobyte);
    EXPECT_GT(log.dropped(), 3000);
    EXPECT_LT(log.dropped(), 5000);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
  EXPECT_NE(read_all().find(kilobyte), std::string::npos);
}

TEST_F(LogTest, AReaderThatComesBackGetsTheRestInOrder) {
  Log log(LogFormat::kText, LogLevel::kInfo, files_[1]);
  for (int64_t j = 0; j < 3000; ++j) log.write(LogLevel::kInfo, "x", "", {{"j", j}, {"text", std::string(50, 'y')}});
  std::string text;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (text.find("j=2999 ") == std::string::npos && std::chrono::steady_clock::now() < deadline) {
    text += read_all();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  size_t at = 0;
  for (int j = 0; j < 3000; ++j) {
    at = text.find("j=" + std::to_string(j) + " ", at);
    ASSERT_NE(at, std::string::npos) << j;
  }
  EXPECT_EQ(log.dropped(), 0);
}

TEST_F(LogTest, AClosedReaderHarmsNobody) {
  close(files_[0]);
  Log log(LogFormat::kJson, LogLevel::kInfo, files_[1]);
  log.write(LogLevel::kInfo, "x", "");
  log.flush(5);
  EXPECT_EQ(log.dropped(), 1);
  files_[0] = open("/dev/null", O_RDONLY);
}

TEST_F(LogTest, ThreadsMayShareIt) {
  Log log(LogFormat::kText, LogLevel::kInfo, files_[1]);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&log] {
      for (int j = 0; j < 100; ++j) log.write(LogLevel::kInfo, "x", "");
    });
  }
  for (std::thread& thread : threads) thread.join();
  log.flush(5);
  const std::string text = read_all();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 400);
}

TEST(LogLevels, AreKnownByTheirNames) {
  for (const char* name : {"debug", "info", "warning", "error"}) EXPECT_STREQ(name_of(*log_level(name)), name);
  EXPECT_FALSE(log_level("loud"));
}

}  // namespace
}  // namespace recblr::server
