#include "users/stores/redis_connection.h"

#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <cmath>
#include <ctime>

#include "users/stores/store.h"

namespace recblr {

namespace {

timeval time_of(double seconds) {
  timeval time;
  time.tv_sec = static_cast<time_t>(seconds);
  time.tv_usec = static_cast<suseconds_t>((seconds - std::floor(seconds)) * 1e6);
  return time;
}

// Writing to a connection that the other side has closed raises a signal, which ends a process that does not expect it.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    sigset_t pending;
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignal() {
    const timespec no_time{};
    if (!was_pending_) sigtimedwait(&pipe_, nullptr, &no_time);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_, before_;
  bool was_pending_;
};

std::string openssl_reason() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  return reason == nullptr ? "no reason given" : reason;
}

}  // namespace

std::string_view text_of(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

bool is_error(const redisReply& reply) { return reply.type == REDIS_REPLY_ERROR; }

std::shared_ptr<void> make_tls(const RedisAddress& address) {
  if (!address.tls) return nullptr;
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (context == nullptr) throw RedisError("TLS: " + openssl_reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), address.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  const auto require = [](int status, const std::string& file) {
    if (status != 1) throw RedisError("TLS: " + file + " cannot be used: " + openssl_reason());
  };
  if (address.ca_certs.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    require(SSL_CTX_load_verify_locations(context.get(), address.ca_certs.c_str(), nullptr), address.ca_certs);
  }
  if (!address.certificate.empty()) {
    const std::string& key = address.key.empty() ? address.certificate : address.key;
    require(SSL_CTX_use_certificate_chain_file(context.get(), address.certificate.c_str()), address.certificate);
    require(SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM), key);
  }
  return context;
}

RedisConnection::RedisConnection(const RedisAddress& address, std::shared_ptr<void> tls)
    : tls_(std::move(tls)), timeout_(address.timeout) {
  if (!address.service.empty()) {
    find_leader(address);
  } else {
    connect(address, address.hosts.empty() ? nullptr : &address.hosts[0]);
    log_in(address.user, address.password);
  }
  if (address.database != 0) {
    const RedisReply reply = ask({"SELECT", std::to_string(address.database)});
    if (is_error(*reply)) throw RedisError(one_line(text_of(*reply)));
  }
}

void RedisConnection::connect(const RedisAddress& address, const RedisHost* host) {
  const NoPipeSignal no_signal;
  const timeval limit = time_of(address.connect_timeout);
  context_.reset(host == nullptr ? redisConnectUnixWithTimeout(address.socket.c_str(), limit)
                                 : redisConnectWithTimeout(host->name.c_str(), host->port, limit));
  if (context_ == nullptr) throw RedisError("no memory for a connection");
  if (context_->err != 0) fail("connecting");
  if (redisSetTimeout(context_.get(), time_of(address.timeout)) != REDIS_OK) fail("connecting");
  if (address.tls) start_tls(address, *host);
}

void RedisConnection::start_tls(const RedisAddress& address, const RedisHost& host) {
  SSL* ssl = SSL_new(static_cast<SSL_CTX*>(tls_.get()));
  if (ssl == nullptr) throw RedisError("TLS: " + openssl_reason());
  SSL_set_mode(ssl, SSL_MODE_AUTO_RETRY);
  SSL_set_tlsext_host_name(ssl, host.name.c_str());
  if (address.verify && address.check_hostname) {
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.name.c_str()) != 1) SSL_set1_host(ssl, host.name.c_str());
    ERR_clear_error();
  }
  if (redisInitiateSSL(context_.get(), ssl) == REDIS_OK) return;  // the connection's from now on
  const std::unique_ptr<SSL, decltype(&SSL_free)> owned(ssl, SSL_free);
  const long refused = SSL_get_verify_result(ssl);
  if (refused != X509_V_OK) throw RedisError(std::string("TLS: ") + X509_verify_cert_error_string(refused));
  fail("TLS");
}

void RedisConnection::log_in(const std::string& user, const std::string& password) {
  if (password.empty() && user.empty()) return;
  const RedisReply reply = user.empty() ? ask({"AUTH", password}) : ask({"AUTH", user, password});
  if (is_error(*reply)) throw RedisError(one_line(text_of(*reply)));
}

void RedisConnection::find_leader(const RedisAddress& address) {
  std::string reason;
  for (const RedisHost& sentinel : address.hosts) {
    try {
      connect(address, &sentinel);
      log_in(address.sentinel_user, address.sentinel_password);
      const RedisReply leader = ask({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service});
      if (is_error(*leader)) throw RedisError(one_line(text_of(*leader)));
      if (leader->type != REDIS_REPLY_ARRAY || leader->elements != 2) throw RedisError("it knows no such service");
      const RedisHost host{std::string(text_of(*leader->element[0])), std::atoi(leader->element[1]->str)};
      connect(address, &host);
      log_in(address.user, address.password);
      const RedisReply role = ask({"ROLE"});
      const bool leads =
          role->type == REDIS_REPLY_ARRAY && role->elements > 0 && text_of(*role->element[0]) == "master";
      // A server that may not be asked is taken at the sentinels' word.
      if (!leads && !is_error(*role))
        throw RedisError(host.name + ":" + std::to_string(host.port) + " does not lead yet");
      return;
    } catch (const RedisError& error) {
      if (!reason.empty()) reason += ", ";
      reason += sentinel.name + ":" + std::to_string(sentinel.port) + ": " + error.what();
    }
  }
  throw RedisError(reason);
}

bool RedisConnection::is_usable() const {
  char byte;
  const ssize_t n = recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  return n > 0 && tls_ != nullptr;  // TLS may have words of its own; nothing else has been asked
}

void RedisConnection::queue(std::initializer_list<std::string_view> command) {
  constexpr size_t kMost = 16;
  const char* parts[kMost];
  size_t sizes[kMost];
  size_t n = 0;
  for (const std::string_view part : command) {
    parts[n] = part.data() == nullptr ? "" : part.data();
    sizes[n++] = part.size();
  }
  if (redisAppendCommandArgv(context_.get(), static_cast<int>(n), parts, sizes) != REDIS_OK) fail("sending");
}

std::vector<RedisReply> RedisConnection::replies(size_t n) {
  const NoPipeSignal no_signal;
  std::vector<RedisReply> replies;
  replies.reserve(n);
  for (size_t j = 0; j < n; ++j) {
    void* reply = nullptr;
    errno = 0;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) fail("waiting for an answer");
    replies.emplace_back(static_cast<redisReply*>(reply));
  }
  return replies;
}

RedisReply RedisConnection::ask(std::initializer_list<std::string_view> command) {
  queue(command);
  return std::move(replies(1)[0]);
}

void RedisConnection::fail(const std::string& action) const {
  const bool is_late = context_->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
  if (is_late || std::string_view(context_->errstr).find("timed out") != std::string_view::npos) {
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%g", timeout_);
    throw RedisError("timeout after " + std::string(seconds) + " s " + action);
  }
  throw RedisError(one_line(context_->errstr));
}

}  // namespace recblr
