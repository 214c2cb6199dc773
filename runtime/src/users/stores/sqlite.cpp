#include "users/stores/sqlite.h"

#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/error.h"

namespace recblr {

namespace {

constexpr char kFile[] = "histories.sqlite3";
constexpr int64_t kApplicationId = 0x52424C52;  // "RBLR"
constexpr int64_t kFormatVersion = 1;
constexpr std::chrono::seconds kWait{30};       // for other processes' transactions, each of which takes milliseconds
constexpr std::chrono::seconds kForgetting{1};  // for readers to let the log be emptied
constexpr std::chrono::milliseconds kPause{5};

// `total` counts a user's items up to and with this event, trimmed ones included.
constexpr char kSchema[] = R"(
CREATE TABLE events (
        user TEXT NOT NULL, seq INTEGER NOT NULL, stamp INTEGER NOT NULL, total INTEGER NOT NULL,
        event_id TEXT, items TEXT NOT NULL, PRIMARY KEY (user, seq)
    ) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX event_ids ON events (user, event_id) WHERE event_id IS NOT NULL;
PRAGMA application_id = 1380076626;
PRAGMA user_version = 1;
)";
static_assert(kApplicationId == 1380076626 && kFormatVersion == 1, "as in the schema");

const char* advice(int code) {
  switch (code) {
    case SQLITE_FULL:
      return "free some space on its disk";
    case SQLITE_IOERR:
      return "free some space on its disk, or check it";
    case SQLITE_READONLY:
      return "make the folder writable";
    case SQLITE_CANTOPEN:
      return "check that the folder exists and is writable";
    case SQLITE_BUSY:
      return "another process holds it; end that, or try again";
    case SQLITE_CORRUPT:
      return "restore it from a backup";
    case SQLITE_NOTADB:
      return "choose another folder, or restore it from a backup";
    default:
      return "check the file and its disk";
  }
}

double seconds_until(std::chrono::steady_clock::time_point deadline) {
  return std::chrono::duration<double>(deadline - std::chrono::steady_clock::now()).count();
}

}  // namespace

SqliteStore::SqliteStore(const std::string& folder, std::optional<int64_t> max_history, Synchronous synchronous)
    : Store(max_history), path_((std::filesystem::path(folder) / kFile).string()), synchronous_(synchronous) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) refuse(Code::kStore, folder + " cannot be made: " + error.message() + "; choose another folder");
  try {
    std::unique_ptr<SqliteConnection> connection = connect(true);
    create(*connection);
    give_back(std::move(connection));
  } catch (const SqliteError& failure) {
    fail(failure, "it was not opened");
  }
}

SqliteStore::~SqliteStore() {
  if (forked()) {
    for (auto& connection : idle_) connection.release();  // closing the parent's would harm its files
    return;
  }
  close();
}

std::unique_ptr<SqliteConnection> SqliteStore::connect(bool make) const {
  auto connection = std::make_unique<SqliteConnection>(path_, make);
  connection->wait_for_others(std::chrono::duration<double>(kWait).count());
  connection->execute(synchronous_ == Synchronous::kFull ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  connection->execute("PRAGMA secure_delete = ON");
  return connection;
}

void SqliteStore::create(SqliteConnection& connection) const {
  const auto deadline = Clock::now() + kWait;
  while (true) {
    try {
      connection.execute("PRAGMA journal_mode = WAL");
      break;
    } catch (const SqliteError& error) {  // this one statement does not wait for others by itself
      if (error.code() != SQLITE_BUSY || Clock::now() > deadline) throw;
      std::this_thread::sleep_for(kPause);
    }
  }
  connection.execute("BEGIN IMMEDIATE");  // of several processes, one makes the tables
  const bool is_empty = connection.value("PRAGMA application_id") == 0 &&
                        connection.value("PRAGMA user_version") == 0 &&
                        connection.value("SELECT count(*) FROM sqlite_master") == 0;
  if (is_empty) connection.execute(kSchema);
  connection.execute(is_empty ? "COMMIT" : "ROLLBACK");
  check_format(connection);
}

void SqliteStore::check_format(SqliteConnection& connection) const {
  if (connection.value("PRAGMA application_id") != kApplicationId) {
    refuse(Code::kStore, path_ + " is another program's database: choose another folder");
  }
  const int64_t version = connection.value("PRAGMA user_version");
  if (version != kFormatVersion) {
    refuse(Code::kStore, path_ + " has format version " + std::to_string(version) + ", this recblr uses " +
                             std::to_string(kFormatVersion) + ": upgrade recblr, or choose another folder");
  }
}

void SqliteStore::fail(const SqliteError& error, const char* consequence) const {
  refuse(Code::kStore, path_ + ": " + one_line(error.what()) + "; " + consequence + "; " + advice(error.code()));
}

std::unique_ptr<SqliteConnection> SqliteStore::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_closed_) refuse(Code::kStore, "the store " + path_ + " is closed: open it again");
  if (idle_.empty()) return nullptr;
  std::unique_ptr<SqliteConnection> connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void SqliteStore::give_back(std::unique_ptr<SqliteConnection> connection) {
  connection->wait_for_others(std::chrono::duration<double>(kWait).count());  // again, whatever its user has set
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!is_closed_) idle_.push_back(std::move(connection));
}

void SqliteStore::check_in_place(const SqliteConnection& connection, const char* consequence) {
  if (!connection.has_moved()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.clear();
  refuse(Code::kStore, path_ + ": the file was removed or replaced while it was in use; " + consequence +
                           "; put it back, or restore it from a backup");
}

template <typename Work>
void SqliteStore::use(const char* consequence, const Work& work) {
  check_process();
  std::unique_ptr<SqliteConnection> connection = take();
  try {
    if (connection == nullptr) {
      connection = connect(false);
      check_format(*connection);
    }
    check_in_place(*connection, consequence);
    work(*connection);
  } catch (const SqliteError& error) {
    fail(error, consequence);
  }
  give_back(std::move(connection));
}

template <typename Work>
bool SqliteStore::write(const char* consequence, bool may_wait, const Work& work) {
  check_process();
  const auto deadline = Clock::now() + kWait;  // for both the other threads and the other processes
  const auto fail_locked = [&] { fail(SqliteError(SQLITE_BUSY, "database is locked"), consequence); };
  {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool would_connect = idle_.empty() && !is_closed_;  // which may wait for other processes, too
    if (!may_wait && (is_writing_ || would_connect)) return false;
    if (!written_.wait_until(lock, deadline, [this] { return !is_writing_; })) {
      fail_locked();
    }
    is_writing_ = true;
  }
  struct Turn {
    SqliteStore* store;
    ~Turn() {
      {
        const std::lock_guard<std::mutex> lock(store->mutex_);
        store->is_writing_ = false;
      }
      store->written_.notify_one();
    }
  } turn{this};
  bool is_begun = false;
  use(consequence, [&](SqliteConnection& connection) {
    connection.wait_for_others(may_wait ? seconds_until(deadline) : 0);
    is_begun = connection.begin_to_write();
    if (!is_begun) return;
    try {
      work(connection);
      SqliteStatement::Run(connection, &connection.commit).step();
      check_in_place(connection, "what was written went with it");
    } catch (...) {
      connection.roll_back();
      throw;
    }
    if (is_trace_left_.load(std::memory_order_relaxed) && connection.empty_log()) {
      is_trace_left_.store(false, std::memory_order_relaxed);
    }
  });
  if (!is_begun && may_wait) fail_locked();
  return is_begun;
}

void SqliteStore::append(const NewEvent* events, int64_t n, Appended* appended) {
  append_all(events, n, true, appended);
}

bool SqliteStore::append_now(const NewEvent* events, int64_t n, Appended* appended) {
  return append_all(events, n, false, appended);
}

bool SqliteStore::append_all(const NewEvent* events, int64_t n, bool may_wait, Appended* appended) {
  return write("nothing was stored", may_wait, [&](SqliteConnection& connection) {
    for (int64_t j = 0; j < n; ++j) appended[j] = append_one(connection, events[j]);
  });
}

Appended SqliteStore::append_one(SqliteConnection& connection, const NewEvent& event) const {
  const std::string_view user = event.user;
  if (!event.event_id.empty()) {
    SqliteStatement::Run known(connection, &connection.known);
    if (known.bind(user).bind(event.event_id).step()) return {};
  }
  Appended appended;
  appended.is_new = true;
  int64_t total = event.n_items;
  {
    SqliteStatement::Run last(connection, &connection.last);
    if (last.bind(user).step()) {
      appended.place.seq = last.integer(0);
      total += last.integer(1);
      appended.stamp_before = last.integer(2);
    }
  }
  ++appended.place.seq;
  appended.place.stamp = new_stamp();
  {
    SqliteStatement::Run insert(connection, &connection.insert);
    insert.bind(user).bind(appended.place.seq).bind(appended.place.stamp).bind(total);
    event.event_id.empty() ? insert.bind_null() : insert.bind(event.event_id);
    insert.bind(event.items).step();
  }
  if (max_history()) {
    int64_t first_kept = 0;
    {
      SqliteStatement::Run first(connection, &connection.first_kept);
      if (first.bind(user).bind(total - *max_history()).step()) first_kept = first.integer(0);
    }
    SqliteStatement::Run(connection, &connection.trim).bind(user).bind(first_kept).step();
  }
  return appended;
}

void SqliteStore::read(const std::string_view* users, const Place* places, int64_t n, Log* logs) {
  use("nothing was read", [&](SqliteConnection& connection) {
    for (int64_t b = 0; b < n; ++b) {
      Log& log = logs[b];
      log.clear();
      const Place& place = places[b];
      log.continues = place.stamp == kAnyStamp;
      if (place.seq > 0) {
        SqliteStatement::Run read(connection, &connection.read);
        read.bind(users[b]).bind(place.seq + log.continues);
        if (!log.continues) {
          log.continues = read.step() && read.integer(0) == place.seq && read.integer(1) == place.stamp;
        }
        while (log.continues && read.step()) log.add(read.integer(0), read.integer(1), read.text(2));
        if (log.continues) continue;
      }
      SqliteStatement::Run read(connection, &connection.read);
      read.bind(users[b]).bind(int64_t{0});
      while (read.step()) log.add(read.integer(0), read.integer(1), read.text(2));
    }
  });
}

bool SqliteStore::forget(std::string_view user) {
  bool found = false;
  write("nothing was forgotten", true, [&](SqliteConnection& connection) {
    SqliteStatement::Run(connection, &connection.forget).bind(user).step();
    found = connection.n_changed() > 0;
  });
  use("forgotten, but its trace is still in the write-ahead log", [&](SqliteConnection& connection) {
    // Deleted rows are overwritten with zeros, but the log holds old pages until it is emptied. That needs a moment
    // without readers; nobody has to wait for it but this call.
    is_trace_left_.store(true, std::memory_order_relaxed);
    const auto deadline = Clock::now() + kForgetting;
    bool is_empty = false;
    while (!(is_empty = connection.empty_log()) && Clock::now() < deadline) std::this_thread::sleep_for(kPause);
    if (is_empty) is_trace_left_.store(false, std::memory_order_relaxed);
  });
  return found;
}

void SqliteStore::close() {
  std::vector<std::unique_ptr<SqliteConnection>> idle;
  const std::lock_guard<std::mutex> lock(mutex_);
  is_closed_ = true;
  idle.swap(idle_);
}

}  // namespace recblr
