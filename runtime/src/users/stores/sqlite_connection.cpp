#include "users/stores/sqlite_connection.h"

#include <sqlite3.h>

#include <algorithm>

namespace recblr {

namespace {

void check(sqlite3* database, int status) {
  if (status == SQLITE_OK || status == SQLITE_ROW || status == SQLITE_DONE) return;
  throw SqliteError(status & 0xff, database == nullptr ? sqlite3_errstr(status) : sqlite3_errmsg(database));
}

}  // namespace

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

SqliteStatement::Run::Run(const SqliteConnection& connection, SqliteStatement* statement)
    : database_(connection.handle_.database) {
  if (statement->statement_ == nullptr) {
    check(database_, sqlite3_prepare_v3(database_, statement->sql_, -1, SQLITE_PREPARE_PERSISTENT,
                                        &statement->statement_, nullptr));
  }
  statement_ = statement->statement_;
}

SqliteStatement::Run::~Run() { sqlite3_reset(statement_); }

SqliteStatement::Run& SqliteStatement::Run::bind(int64_t value) {
  check(database_, sqlite3_bind_int64(statement_, ++bound_, value));
  return *this;
}

SqliteStatement::Run& SqliteStatement::Run::bind(std::string_view text) {
  check(database_, sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

SqliteStatement::Run& SqliteStatement::Run::bind_null() {
  check(database_, sqlite3_bind_null(statement_, ++bound_));
  return *this;
}

bool SqliteStatement::Run::step() {
  const int status = sqlite3_step(statement_);
  check(database_, status);
  return status == SQLITE_ROW;
}

int64_t SqliteStatement::Run::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string_view SqliteStatement::Run::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) check(database_, sqlite3_errcode(database_));
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

SqliteConnection::Handle::~Handle() { sqlite3_close(database); }

SqliteConnection::SqliteConnection(const std::string& path, bool make) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (make ? SQLITE_OPEN_CREATE : 0);
  check(handle_.database, sqlite3_open_v2(path.c_str(), &handle_.database, flags, nullptr));
}

void SqliteConnection::execute(const char* sql) const {
  check(handle_.database, sqlite3_exec(handle_.database, sql, nullptr, nullptr, nullptr));
}

int64_t SqliteConnection::value(const char* sql) const {
  SqliteStatement statement(sql);
  SqliteStatement::Run run(*this, &statement);
  return run.step() ? run.integer(0) : 0;
}

void SqliteConnection::wait_for_others(double seconds) const {
  check(handle_.database, sqlite3_busy_timeout(handle_.database, static_cast<int>(std::max(seconds, 0.0) * 1000)));
}

bool SqliteConnection::begin_to_write() {
  try {
    SqliteStatement::Run(*this, &begin_).step();
  } catch (const SqliteError& error) {
    if (error.code() != SQLITE_BUSY) throw;
    return false;
  }
  return true;
}

void SqliteConnection::roll_back() const {
  // On some errors SQLite has ended the transaction by itself.
  if (sqlite3_get_autocommit(handle_.database) == 0) {
    sqlite3_exec(handle_.database, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

int64_t SqliteConnection::n_changed() const { return sqlite3_changes(handle_.database); }

bool SqliteConnection::has_moved() const {
  int moved = 0;
  return sqlite3_file_control(handle_.database, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved != 0;
}

bool SqliteConnection::empty_log() const {
  wait_for_others(0);
  const int status = sqlite3_wal_checkpoint_v2(handle_.database, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if ((status & 0xff) == SQLITE_BUSY || (status & 0xff) == SQLITE_LOCKED) return false;
  check(handle_.database, status);
  return true;
}

}  // namespace recblr
