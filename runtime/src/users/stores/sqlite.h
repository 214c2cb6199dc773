// Histories in one SQLite file, shared by any number of processes on one machine.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "users/stores/sqlite_connection.h"
#include "users/stores/store.h"

namespace recblr {

// What an append waits for. With kFull an acknowledged event survives power loss, as far as the disk keeps what it says
// it wrote; with kNormal power loss may take the latest events, but never the file. Either survives kill -9.
enum class Synchronous { kFull, kNormal };

class SqliteStore : public Store {
 public:
  // Opens a folder's histories.sqlite3, and makes what is missing. The folder is on a local disk: SQLite's write-ahead
  // log does not work over a network. Throws Error(kStore): it cannot be opened, or the file is something else.
  SqliteStore(const std::string& folder, std::optional<int64_t> max_history, Synchronous synchronous);
  ~SqliteStore() override;

  // In one transaction: all events or none.
  void append(const NewEvent* events, int64_t n, Appended* appended) override;
  bool append_now(const NewEvent* events, int64_t n, Appended* appended) override;
  void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) override;
  // Nothing stays in the files, but for what a reader at this moment still needs; that goes with the next write.
  bool forget(std::string_view user) override;
  // Closes idle connections; calls under way in other threads still finish.
  void close() override;

 private:
  using Clock = std::chrono::steady_clock;

  // Does `work` with a connection that no other thread uses; `consequence` of a failure is for the message.
  template <typename Work>
  void use(const char* consequence, const Work& work);
  // The same in a transaction that may write: committed at the end, rolled back on any error. Where another thread or
  // process writes and it may not wait, returns false with nothing done.
  template <typename Work>
  bool write(const char* consequence, bool may_wait, const Work& work);
  bool append_all(const NewEvent* events, int64_t n, bool may_wait, Appended* appended);
  void check_in_place(const SqliteConnection& connection, const char* consequence);
  std::unique_ptr<SqliteConnection> take();
  void give_back(std::unique_ptr<SqliteConnection> connection);
  std::unique_ptr<SqliteConnection> connect(bool make) const;
  void create(SqliteConnection& connection) const;
  void check_format(SqliteConnection& connection) const;
  Appended append_one(SqliteConnection& connection, const NewEvent& event) const;
  [[noreturn]] void fail(const SqliteError& error, const char* consequence) const;

  std::string path_;
  Synchronous synchronous_;
  std::mutex mutex_;  // of what follows
  std::vector<std::unique_ptr<SqliteConnection>> idle_;
  bool is_closed_ = false;
  bool is_writing_ = false;  // queues this process's writers, which SQLite would let sleep and retry
  std::condition_variable written_;
  std::atomic<bool> is_trace_left_{false};  // of forgotten users, in the write-ahead log
};

}  // namespace recblr
