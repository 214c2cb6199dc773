// One connection to a Redis server: commands are queued, then sent together.
#pragma once

#include <hiredis/hiredis.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "users/stores/redis_address.h"

namespace recblr {

// A connection that cannot be made, broke, or is not answered; what was sent may have been done. Or, at the start, a
// server that refuses it.
class RedisError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeReply>;

// The text of a reply, empty for one that has none.
std::string_view text_of(const redisReply& reply);
bool is_error(const redisReply& reply);

// What TLS needs besides the address, an SSL_CTX, made once; nullptr without TLS. Throws RedisError.
std::shared_ptr<void> make_tls(const RedisAddress& address);

// One thread at a time. Methods throw RedisError; after that it is of no use.
class RedisConnection {
 public:
  // Connects; with sentinels to the server that leads, which is asked whether it does. Logs in, and selects the
  // database.
  RedisConnection(const RedisAddress& address, std::shared_ptr<void> tls);

  // Whether nothing tells by now that the server has closed it.
  bool is_usable() const;

  void queue(std::initializer_list<std::string_view> command);
  // Sends what is queued, and returns the replies of that many commands, errors of the server among them.
  std::vector<RedisReply> replies(size_t n);
  // One command alone.
  RedisReply ask(std::initializer_list<std::string_view> command);

 private:
  struct FreeContext {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  void connect(const RedisAddress& address, const RedisHost* host);
  void log_in(const std::string& user, const std::string& password);
  void find_leader(const RedisAddress& address);
  void start_tls(const RedisAddress& address, const RedisHost& host);
  [[noreturn]] void fail(const std::string& action) const;

  std::shared_ptr<void> tls_;
  double timeout_;
  std::unique_ptr<redisContext, FreeContext> context_;
};

}  // namespace recblr
