// One connection to an SQLite file, and its prepared statements.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace recblr {

// What SQLite says of a failure.
class SqliteError : public std::runtime_error {
 public:
  SqliteError(int code, const std::string& reason) : std::runtime_error(reason), code_(code) {}
  int code() const { return code_; }  // SQLITE_FULL ..., without its extension

 private:
  int code_;
};

class SqliteConnection;

// A prepared statement; prepared when it is first used.
class SqliteStatement {
 public:
  explicit SqliteStatement(const char* sql) : sql_(sql) {}
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;
  ~SqliteStatement();

  // One run of the statement; ends with its life.
  class Run {
   public:
    Run(const SqliteConnection& connection, SqliteStatement* statement);
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run();

    // Parameters, from the first on. Text must outlive the run.
    Run& bind(int64_t value);
    Run& bind(std::string_view text);
    Run& bind_null();
    // Whether there is another row. Throws SqliteError.
    bool step();
    int64_t integer(int column) const;
    std::string_view text(int column) const;  // until the next step

   private:
    sqlite3* database_;
    sqlite3_stmt* statement_;
    int bound_ = 0;
  };

 private:
  const char* sql_;
  sqlite3_stmt* statement_ = nullptr;
};

// Methods throw SqliteError. One thread at a time.
class SqliteConnection {
  // Before the statements, so that it is closed after they are gone.
  struct Handle {
    sqlite3* database = nullptr;
    ~Handle();
  };
  Handle handle_;

 public:
  // `make`: whether to make a file that is not there.
  SqliteConnection(const std::string& path, bool make);
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  void execute(const char* sql) const;
  int64_t value(const char* sql) const;  // of the first column of the first row
  void wait_for_others(double seconds) const;
  // Begins a transaction that may write; false where another connection's lasts longer than this one waits.
  bool begin_to_write();
  void roll_back() const;     // where this fails, closing the connection undoes all
  int64_t n_changed() const;  // rows that the latest statement changed
  // Whether the file was removed, renamed or replaced since it was opened.
  bool has_moved() const;
  // Moves the whole write-ahead log into the file, and empties it, if no one reads or writes at this moment.
  bool empty_log() const;

  SqliteStatement last{"SELECT seq, total, stamp FROM events WHERE user = ? ORDER BY seq DESC LIMIT 1"};
  SqliteStatement known{"SELECT 1 FROM events WHERE user = ? AND event_id = ?"};
  SqliteStatement insert{"INSERT INTO events (user, seq, stamp, total, event_id, items) VALUES (?, ?, ?, ?, ?, ?)"};
  SqliteStatement first_kept{"SELECT seq FROM events WHERE user = ? AND total > ? ORDER BY seq LIMIT 1"};
  SqliteStatement trim{"DELETE FROM events WHERE user = ? AND seq < ?"};
  SqliteStatement read{"SELECT seq, stamp, items FROM events WHERE user = ? AND seq >= ? ORDER BY seq"};
  SqliteStatement forget{"DELETE FROM events WHERE user = ?"};
  SqliteStatement commit{"COMMIT"};

 private:
  SqliteStatement begin_{"BEGIN IMMEDIATE"};

  friend class SqliteStatement::Run;
};

}  // namespace recblr
