#include "server/http_server_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

namespace recblr::server {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);

}  // namespace

void Finished::finished(const RequestRecord& record) {
  const std::lock_guard lock(mutex_);
  records_.push_back(record);
  changed_.notify_all();
}

std::vector<RequestRecord> Finished::wait(size_t n) {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return records_.size() >= n; }))
      << "only " << records_.size() << " requests were finished";
  std::vector<RequestRecord> records = records_;
  records.resize(std::max(n, records.size()));
  return records;
}

std::string Answer::error() const {
  constexpr size_t kAround = 12;  // {"error":" and "}
  return body.size() > kAround && body.rfind("{\"error\":\"", 0) == 0 ? body.substr(10, body.size() - kAround) : "";
}

Client& Client::operator=(Client&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(received_, other.received_);
  return *this;
}

Client& Client::send(const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) break;  // what the server does not want is another assertion's
    sent += static_cast<size_t>(n);
  }
  return *this;
}

bool Client::receive_some() {
  char bytes[65536];
  const ssize_t n = ::recv(fd_, bytes, sizeof(bytes), 0);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) ADD_FAILURE() << "nothing came for ten seconds";
  if (n > 0) received_.append(bytes, static_cast<size_t>(n));
  return n > 0;
}

Answer Client::receive(bool has_body) {
  size_t end = 0;
  while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
    if (!receive_some()) return {};
  }
  Answer answer;
  answer.status = std::stoi(received_.substr(9, 3));
  for (size_t line = received_.find("\r\n") + 2; line < end + 2;) {
    const size_t line_end = received_.find("\r\n", line), colon = received_.find(": ", line);
    std::string name = received_.substr(line, colon - line);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    answer.headers[name] = received_.substr(colon + 2, line_end - colon - 2);
    line = line_end + 2;
  }
  received_.erase(0, end + 4);
  const size_t length = has_body ? std::strtoull(answer.headers["content-length"].c_str(), nullptr, 10) : 0;
  while (received_.size() < length) {
    if (!receive_some()) return {};
  }
  answer.body = received_.substr(0, length);
  received_.erase(0, length);
  return answer;
}

std::string Client::receive_all() {
  while (receive_some()) {
  }
  return std::exchange(received_, {});
}

void Client::end_sending() { ::shutdown(fd_, SHUT_WR); }

void Client::leave() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void Client::reset() {
  const linger at_once{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  leave();
}

HttpServerFixture::HttpServerFixture() : pool(std::make_unique<Pool>(2, 1000)) {
  options.threads = 2;
  const auto echo = [](const ExchangePtr& exchange) { exchange->reply(text_reply(exchange->request().body)); };
  const auto hold = [this](const ExchangePtr& exchange) {
    const std::lock_guard lock(mutex_);
    held_.push_back(exchange);
    changed_.notify_all();
  };
  router.add(Method::kGet, "/hello", Access::kUser,
             [](const ExchangePtr& exchange) { exchange->reply(text_reply("hello")); });
  router.add(Method::kPost, "/echo", Access::kUser, echo);
  router.add(Method::kPost, "/later", Access::kUser,
             [this, echo](const ExchangePtr& exchange) { pool->post([echo, exchange] { echo(exchange); }); });
  router.add(Method::kGet, "/parameters/{a}/{b}", Access::kUser, [](const ExchangePtr& exchange) {
    const std::vector<std::string>& parameters = exchange->request().parameters;
    exchange->reply(text_reply(parameters.at(0) + "|" + parameters.at(1)));
  });
  router.add(Method::kGet, "/hold", Access::kUser, hold);
  router.add(Method::kPost, "/hold", Access::kUser, hold);
  router.add(Method::kGet, "/big", Access::kUser,
             [](const ExchangePtr& exchange) { exchange->reply(text_reply(std::string(8'000'000, 'b'))); });
  router.add(Method::kGet, "/throws", Access::kUser,
             [](const ExchangePtr&) { throw std::runtime_error("what was thrown"); });
  router.add(Method::kGet, "/forgets", Access::kUser, [](const ExchangePtr&) {});
  for (const auto& [path, access] : {std::pair("/public", Access::kPublic), std::pair("/admin", Access::kAdmin)}) {
    router.add(Method::kGet, path, access, [](const ExchangePtr& exchange) { exchange->reply(text_reply("in")); });
  }
}

HttpServerFixture::~HttpServerFixture() {
  pool.reset();
  server.reset();
}

void HttpServerFixture::start() {
  if (options.addresses.empty()) options.addresses = {"127.0.0.1:0"};
  server = std::make_unique<HttpServer>(options, router, &finished);
  server->start();
}

Client HttpServerFixture::connect(const std::string& to) const {
  const std::string where = to.empty() ? url() : to;
  const auto connected = [&](int fd, const auto& address) {
    const timeval patience{10, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0)
        << where << ": " << std::strerror(errno);
    return Client(fd);
  };
  if (where.rfind("unix:", 0) == 0) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    where.copy(address.sun_path, sizeof(address.sun_path) - 1, 5);
    return connected(::socket(AF_UNIX, SOCK_STREAM, 0), address);
  }
  const auto port = htons(static_cast<uint16_t>(std::stoi(where.substr(where.rfind(':') + 1))));
  if (where.find('[') != std::string::npos) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    address.sin6_port = port;
    return connected(::socket(AF_INET6, SOCK_STREAM, 0), address);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = port;
  return connected(::socket(AF_INET, SOCK_STREAM, 0), address);
}

ExchangePtr HttpServerFixture::next_held() {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, kPatience, [&] { return held_.size() > n_taken_; })) {
    throw std::runtime_error("no request came to /hold");
  }
  return std::move(held_[n_taken_++]);
}

void HttpServerFixture::wait_for_connections(int64_t n) const {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (server->connections() != n && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(server->connections(), n);
}

Reply text_reply(std::string text) {
  Reply reply;
  reply.content_type = "text/plain";
  reply.body = std::move(text);
  return reply;
}

std::string get(const std::string& path, const std::string& headers) {
  return "GET " + path + " HTTP/1.1\r\nHost: test\r\n" + headers + "\r\n";
}

std::string post(const std::string& path, const std::string& body, const std::string& headers) {
  return "POST " + path + " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}

std::string gzipped(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

}  // namespace recblr::server
