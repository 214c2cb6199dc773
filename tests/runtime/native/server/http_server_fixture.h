// A server with some routes, and clients that send it bytes.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/http/http_server.h"
#include "server/work/pool.h"

namespace recblr::server {

// Keeps what it was told.
class Finished final : public Observer {
 public:
  void finished(const RequestRecord& record) override;
  // Waits until there are `n`; copies, with views of text that is static or the router's.
  std::vector<RequestRecord> wait(size_t n);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RequestRecord> records_;
};

struct Answer {
  int status = 0;                              // 0: the connection was closed before one came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string error() const;  // the text of {"error": text}
};

// Calls of it that wait fail the test after ten seconds.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {}
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)), received_(std::move(other.received_)) {}
  Client& operator=(Client&& other) noexcept;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { leave(); }

  Client& send(const std::string& bytes);
  Answer receive(bool has_body = true);
  Answer ask(const std::string& bytes) { return send(bytes).receive(); }
  // All until the server closes.
  std::string receive_all();
  bool is_closed() { return receive_all().empty(); }
  void end_sending();
  void leave();
  void reset();  // leaves with a reset
  int fd() const { return fd_; }

 private:
  bool receive_some();

  int fd_;
  std::string received_;
};

// GET /hello                answers "hello" at once
// POST /echo                the body, at once; POST /later: in another thread
// GET /parameters/{a}/{b}   them, with "|" in between
// GET /hold, POST /hold     kept in `held`, until the test replies
// GET /big                  eight million bytes
// GET /throws, GET /forgets
// GET /public, GET /admin   with Access::kPublic, kAdmin; the others are users'
class HttpServerFixture : public ::testing::Test {
 protected:
  HttpServerFixture();
  ~HttpServerFixture() override;
  // With `options`, at a free port of 127.0.0.1 unless they name addresses.
  void start();
  std::string url(size_t j = 0) const { return server->urls().at(j); }
  // Of the first address unless `url` is given.
  Client connect(const std::string& url = "") const;
  // Waits for the next that came to /hold.
  ExchangePtr next_held();
  void wait_for_connections(int64_t n) const;

  HttpOptions options;
  Router router;
  Finished finished;
  std::unique_ptr<Pool> pool;
  std::unique_ptr<HttpServer> server;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ExchangePtr> held_;
  size_t n_taken_ = 0;
};

Reply text_reply(std::string text);
// GET `path` of HTTP/1.1, with lines of header that end with CR LF.
std::string get(const std::string& path, const std::string& headers = "");
std::string post(const std::string& path, const std::string& body, const std::string& headers = "");
std::string gzipped(const std::string& text);

}  // namespace recblr::server
