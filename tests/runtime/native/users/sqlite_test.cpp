// SQLite in trouble: killed writers, a full disk, other files, readers that stay, a file that goes.
#include "users/stores/sqlite.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "users/store_kinds.h"

namespace recblr::tests {
namespace {

using Clock = std::chrono::steady_clock;
const Id kUser = Id::of("u");

// Another program's connection to a folder's file.
class Other {
 public:
  explicit Other(const std::string& folder) { sqlite3_open((folder + "/histories.sqlite3").c_str(), &database_); }
  ~Other() { sqlite3_close(database_); }
  void run(const char* sql) { ASSERT_EQ(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sql; }

 private:
  sqlite3* database_ = nullptr;
};

std::string content_of(const std::string& folder) {
  std::ostringstream all;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ifstream content(file.path(), std::ios::binary);
    if (content.peek() != std::ifstream::traits_type::eof()) all << content.rdbuf();
  }
  return all.str();
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Killed : public ::testing::TestWithParam<Synchronous> {};
INSTANTIATE_TEST_SUITE_P(Each, Killed, ::testing::Values(Synchronous::kFull, Synchronous::kNormal));

TEST_P(Killed, AcknowledgedEventsSurviveKill9) {
  const TemporaryFolder folder;
  int acknowledged[2];
  ASSERT_EQ(pipe(acknowledged), 0);
  const pid_t writer = fork();
  if (writer == 0) {
    SqliteStore store(folder.path(), std::nullopt, GetParam());
    for (int64_t j = 0;; ++j) {
      append(store, event(kUser, {Id::of(j)}, Id::of(j)));
      if (write(acknowledged[1], "x", 1) != 1) _exit(1);
    }
  }
  close(acknowledged[1]);
  char byte;
  int64_t n = 0;
  while (n < 50 && ::read(acknowledged[0], &byte, 1) == 1) ++n;
  kill(writer, SIGKILL);
  while (::read(acknowledged[0], &byte, 1) == 1) ++n;
  close(acknowledged[0]);
  waitpid(writer, nullptr, 0);
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kFull);
  const Log log = read(store, kUser);
  const auto size = static_cast<int64_t>(log.events.size());
  for (int64_t j = 0; j < size; ++j) {
    EXPECT_EQ(log.items(log.events[static_cast<size_t>(j)]), "[" + std::to_string(j) + "]");
  }
  EXPECT_LE(n, size);
  EXPECT_LE(size, n + 1);
  EXPECT_FALSE(append(store, event(kUser, {Id::of(0)}, Id::of(0))));
  EXPECT_TRUE(append(store, event(kUser, {Id::of(-1)}, Id::of(-1))));
}

TEST(Sqlite, AFullDiskSaysSoAndLeavesWhatWasStoredReadable) {
  const TemporaryFolder folder;
  const pid_t writer = fork();
  if (writer == 0) {
    SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 18, 1 << 18};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string large(1000, 'x');
    size_t n = 0;
    const std::string message = store_error([&] {
      for (;; ++n) append(store, event(kUser, {Id::of(large)}));
    });
    const bool is_right =
        holds(message, "/histories.sqlite3: ") && holds(message, "; nothing was stored; free some space");
    _exit(is_right && n > 10 && read(store, kUser).events.size() == n ? 0 : 1);
  }
  int status = 0;
  waitpid(writer, &status, 0);
  EXPECT_EQ(status, 0);
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  EXPECT_GT(read(store, kUser).events.size(), 10u);
  EXPECT_TRUE(append(store, event(kUser, {Id::of(1)})));  // there is space again
}

TEST(Sqlite, ForgottenUsersAreNotInTheFiles) {
  const TemporaryFolder folder;
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  std::vector<NewEvent> events;
  for (int64_t j = 0; j < 300; ++j) {
    const std::string id = "the event " + std::to_string(j);
    events.push_back(event(Id::of("somebody in particular"), {Id::of(j), Id::of("an unusual item")}, Id::of(id)));
  }
  std::vector<Appended> appended(300);
  store.append(events.data(), 300, appended.data());
  append(store, event(Id::of("another"), {Id::of(1)}));
  EXPECT_TRUE(holds(content_of(folder.path()), "somebody in particular"));
  EXPECT_TRUE(store.forget("ssomebody in particular"));
  const std::string content = content_of(folder.path());
  for (const char* trace : {"somebody in particular", "an unusual item", "the event"})
    EXPECT_FALSE(holds(content, trace));
  EXPECT_TRUE(holds(content, "another"));
}

TEST(Sqlite, ForgettingBesideAnOpenReaderStopsNobodyAndLeavesNothingOnceItEnds) {
  const TemporaryFolder folder;
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  append(store, event(Id::of("somebody in particular"), {Id::of(1)}));
  Other reader(folder.path());
  reader.run("BEGIN; SELECT * FROM events");
  std::atomic<bool> ended{false};
  std::atomic<int64_t> n_written{0};
  std::atomic<double> longest{0};
  std::thread writer([&] {
    for (int64_t j = 0; !ended; ++j) {
      const auto start = Clock::now();
      append(store, event(kUser, {Id::of(j)}));
      longest = std::max<double>(longest, std::chrono::duration<double>(Clock::now() - start).count());
      ++n_written;
    }
  });
  EXPECT_TRUE(store.forget("ssomebody in particular"));
  const int64_t n = n_written;
  while (n_written < n + 5) std::this_thread::yield();
  ended = true;
  writer.join();
  EXPECT_LT(longest, 10);                                                   // it was 30 seconds
  EXPECT_TRUE(holds(content_of(folder.path()), "somebody in particular"));  // for the reader
  reader.run("COMMIT");
  append(store, event(kUser, {Id::of(-1)}));
  EXPECT_FALSE(holds(content_of(folder.path()), "somebody in particular"));
}

TEST(Sqlite, FilesOfOthersAreLeftAlone) {
  const TemporaryFolder folder;
  const auto open = [&] { return store_error([&] { SqliteStore(folder.path(), std::nullopt, Synchronous::kFull); }); };
  Other(folder.path()).run("CREATE TABLE mine (x)");
  EXPECT_TRUE(holds(open(), "/histories.sqlite3 is another program's database: choose another folder"));
  std::ofstream(folder.path() + "/histories.sqlite3") << std::string(2000, 'n');
  EXPECT_TRUE(holds(open(), "file is not a database; it was not opened; choose another folder"));
  std::filesystem::remove_all(folder.path());
  EXPECT_EQ(open(), "");
  Other(folder.path()).run("PRAGMA user_version = 2");
  EXPECT_TRUE(holds(open(), "has format version 2, this recblr uses 1: upgrade recblr, or choose another folder"));
  std::filesystem::remove_all(folder.path());
  std::ofstream(folder.path()) << "a file";
  EXPECT_TRUE(holds(open(), "cannot be made"));
}

TEST(Sqlite, AFileThatWasRemovedIsNoticed) {
  const TemporaryFolder folder;
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  append(store, event(kUser, {Id::of(1)}));
  const std::string file = folder.path() + "/histories.sqlite3", away = folder.path() + "/away";
  Other(folder.path()).run("PRAGMA wal_checkpoint(TRUNCATE)");
  std::filesystem::rename(file, away);
  const std::string removed = "the file was removed or replaced while it was in use; ";
  EXPECT_TRUE(holds(store_error([&] { append(store, event(kUser, {Id::of(2)})); }), removed + "nothing was stored"));
  EXPECT_TRUE(holds(store_error([&] { read(store, kUser); }), "check that the folder exists"));
  EXPECT_FALSE(std::filesystem::exists(file));  // no empty one in its place
  std::filesystem::rename(away, file);
  EXPECT_EQ(items_of(store, kUser), "[1]");
  EXPECT_TRUE(append(store, event(kUser, {Id::of(2)})));
}

TEST(Sqlite, WritersThatWaitForAnotherProcessWaitAtOnce) {
  const TemporaryFolder folder;
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  Other other(folder.path());
  other.run("BEGIN IMMEDIATE");
  std::vector<std::thread> writers;
  std::atomic<int> n_stored{0};
  for (int64_t j = 0; j < 4; ++j) {
    writers.emplace_back([&, j] { n_stored += append(store, event(Id::of(j), {Id::of(j)})); });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(n_stored, 0);
  other.run("COMMIT");
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(n_stored, 4);
}

TEST(Sqlite, WhatMayNotWaitForOthersIsStoredAtOnceOrNotAtAll) {
  const TemporaryFolder folder;
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  const NewEvent of_one = event(kUser, {Id::of(1)}), of_two = event(kUser, {Id::of(2)});
  Appended appended;
  EXPECT_TRUE(store.append_now(&of_one, 1, &appended));
  EXPECT_EQ(appended.place.seq, 1);
  Other other(folder.path());
  other.run("BEGIN IMMEDIATE");
  EXPECT_FALSE(store.append_now(&of_two, 1, &appended));
  // Nor where a thread of this process writes, or waits to.
  std::thread writer([&] { EXPECT_TRUE(append(store, event(kUser, {Id::of(3)}))); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(store.append_now(&of_two, 1, &appended));
  other.run("COMMIT");
  writer.join();
  EXPECT_EQ(items_of(store, kUser), "[1][3]");
  EXPECT_TRUE(store.append_now(&of_two, 1, &appended));
  EXPECT_EQ(appended.place.seq, 3);
  // The connection waits again as long as ever.
  other.run("BEGIN IMMEDIATE");
  std::thread late([&] { EXPECT_TRUE(append(store, event(kUser, {Id::of(4)}))); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  other.run("COMMIT");
  late.join();
  EXPECT_EQ(items_of(store, kUser), "[1][3][2][4]");
}

TEST(Sqlite, ABatchIsStoredWholeOrNotAtAll) {
  const TemporaryFolder folder;
  SqliteStore store(folder.path(), std::nullopt, Synchronous::kNormal);
  Other(folder.path())
      .run("CREATE TRIGGER full BEFORE INSERT ON events WHEN new.seq = 9 BEGIN SELECT RAISE(FAIL, 'no more'); END");
  std::vector<NewEvent> events;
  for (int64_t j = 0; j < 9; ++j) events.push_back(event(kUser, {Id::of(j)}));
  std::vector<Appended> appended(9);
  EXPECT_TRUE(
      holds(store_error([&] { store.append(events.data(), 9, appended.data()); }), "no more; nothing was stored"));
  EXPECT_EQ(items_of(store, kUser), "");
  store.append(events.data(), 8, appended.data());
  EXPECT_EQ(read(store, kUser).events.size(), 8u);
}

}  // namespace
}  // namespace recblr::tests
