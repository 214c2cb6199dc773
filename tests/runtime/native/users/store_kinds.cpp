#include "users/store_kinds.h"

#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#ifdef RECBLR_WITH_REDIS
#include "users/stores/redis_connection.h"
#endif

namespace recblr::tests {

const char* RedisServer::program() {
  const char* program = std::getenv("RECBLR_REDIS_SERVER");
  return program == nullptr || *program == '\0' ? nullptr : program;
}

RedisServer::~RedisServer() { kill(); }

void RedisServer::kill() {
  if (process_ == 0) return;
  ::kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = 0;
}

#ifdef RECBLR_WITH_REDIS

RedisServer::RedisServer(const std::vector<std::string>& options, const std::string& sentinel)
    : options_(options), sentinel_(sentinel) {
  start();
}

void RedisServer::start() {
  std::vector<std::string> words{program()};
  if (!sentinel_.empty()) words.insert(words.end(), {sentinel_, "--sentinel"});
  words.insert(words.end(), {"--port", "0", "--unixsocket", socket(), "--dir", folder_.path(), "--logfile",
                             folder_.path() + "/log"});
  if (sentinel_.empty()) words.insert(words.end(), {"--save", ""});
  words.insert(words.end(), options_.begin(), options_.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  if (posix_spawn(&process_, program(), nullptr, nullptr, arguments.data(), environ) != 0) {
    throw std::runtime_error("the Redis server does not start");
  }
  for (int turn = 0; turn < 1'000; ++turn) {
    try {
      if (ask({"PING"}) == "PONG") return;  // not while it reads what it had stored
    } catch (const RedisError&) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw std::runtime_error("the Redis server does not answer");
}

int free_port() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0) throw std::runtime_error("no free port");
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  close(listener);
  return ntohs(address.sin_port);
}

std::string RedisServer::ask(const std::vector<std::string>& command) const {
  const std::unique_ptr<redisContext, decltype(&redisFree)> context(redisConnectUnix(socket().c_str()), redisFree);
  std::vector<const char*> words;
  std::vector<size_t> sizes;
  for (const std::string& word : command) {
    words.push_back(word.data());
    sizes.push_back(word.size());
  }
  const RedisReply reply(static_cast<redisReply*>(
      redisCommandArgv(context.get(), static_cast<int>(words.size()), words.data(), sizes.data())));
  if (reply == nullptr) throw RedisError(context->errstr);
  if (reply->type == REDIS_REPLY_INTEGER) return std::to_string(reply->integer);
  std::string text(text_of(*reply));
  for (size_t j = 0; j < reply->elements; ++j) text += std::string(text_of(*reply->element[j])) + "\n";
  return text;
}

#endif

void EachStore::SetUp() {
  const std::string kind = GetParam();
#ifndef RECBLR_WITH_SQLITE
  if (kind == "sqlite") GTEST_SKIP() << "built without SQLite";
#endif
#ifndef RECBLR_WITH_REDIS
  if (kind == "redis") GTEST_SKIP() << "built without hiredis";
#else
  if (kind == "redis") {
    if (RedisServer::program() == nullptr) GTEST_SKIP() << "RECBLR_REDIS_SERVER names no redis-server";
    server_ = std::make_unique<RedisServer>();
  }
#endif
  folder_ = std::make_unique<TemporaryFolder>();
}

std::shared_ptr<Store> EachStore::open(std::optional<int64_t> max_history) {
  StoreSettings settings;
  settings.max_history = max_history;
  settings.synchronous = "NORMAL";  // waits for no disk
  const std::string kind = GetParam();
  return open_store(kind == "memory"   ? ""
                    : kind == "sqlite" ? folder_->path() + "/store"
                                       : server_->address(),
                    settings);
}

NewEvent event(const Id& user, const std::vector<Id>& items, std::optional<Id> event_id,
               std::optional<int64_t> max_history) {
  return new_event(user, items.data(), static_cast<int64_t>(items.size()), event_id ? &*event_id : nullptr,
                   max_history);
}

bool append(Store& store, const NewEvent& event) {
  Appended appended;
  store.append(&event, 1, &appended);
  return appended.is_new;
}

Log read(Store& store, const Id& user, Place place) {
  const std::string key = key_of(user);
  const std::string_view view = key;
  Log log;
  store.read(&view, &place, 1, &log);
  return log;
}

std::string items_of(Store& store, const Id& user) {
  std::string text;
  const Log log = read(store, user);
  for (const Log::Event& event : log.events) text += log.items(event);
  return text;
}

}  // namespace recblr::tests
