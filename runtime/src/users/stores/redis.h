// Histories in a Redis or Valkey server, shared by any number of processes on any number of machines.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "users/stores/redis_connection.h"
#include "users/stores/store.h"

namespace recblr {

// How safe an acknowledged event is depends on the server's settings: with `appendonly yes` and `appendfsync always` it
// survives a crash; with `appendfsync everysec` a crash may take the last second or two. Each append is one atomic
// script, one round trip for any number of them.
//
// After a failover, connections to the server that leads no longer are closed, and new ones made by the same address;
// what was refused for it is sent once more. Otherwise nothing is repeated that may have been done.
class RedisStore : public Store {
 public:
  // Connects. `prefix` is of all keys: stores with different ones do not see each other. Throws Error(kConfig) for what
  // is no address; Error(kStore) where the server does not answer, is a node of a cluster, or drops keys when it is
  // full.
  RedisStore(std::string_view address, std::optional<int64_t> max_history, const std::string& prefix = "recblr");
  ~RedisStore() override;

  // A history that holds something else fails alone, the others' events are stored; an error of the connection leaves
  // open which of them were.
  void append(const NewEvent* events, int64_t n, Appended* appended) override;
  void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) override;
  // The server's append-only file keeps its trace until it is next rewritten.
  bool forget(std::string_view user) override;
  void close() override;

 private:
  struct Keys {
    std::string events, ids;
  };
  Keys keys_of(std::string_view user) const;

  // Does `work` with a connection that no other thread uses; `consequence` of a failure is for the message, and
  // `repeatable` whether to do it again where a connection turns out to be broken.
  template <typename Work>
  void use(const char* consequence, bool repeatable, const Work& work);
  std::unique_ptr<RedisConnection> take();
  void give_back(std::unique_ptr<RedisConnection> connection);
  void drop_idle();

  void check_server();
  void append_from(RedisConnection& connection, const NewEvent* events, int64_t n, Appended* appended);
  int64_t send_appends(RedisConnection& connection, const NewEvent* events, int64_t n, Appended* appended);
  [[noreturn]] void fail(std::string_view reason, const std::string& consequence) const;

  RedisAddress address_;
  std::string prefix_;
  std::shared_ptr<void> tls_;
  std::mutex mutex_;  // of what follows
  std::vector<std::unique_ptr<RedisConnection>> idle_;
  bool is_closed_ = false;
};

}  // namespace recblr
