// Redis behind TLS: a proxy of the test's, with a certificate for localhost, before a server on a socket.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "users/store_kinds.h"
#include "users/stores/redis.h"

namespace recblr::tests {
namespace {

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

// A context with a new key, and a certificate of itself for localhost, which is written to a file.
Context make_context(const std::string& file) {
  Context context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
  X509_add_ext(certificate.get(), names, -1);
  X509_EXTENSION_free(names);
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  SSL_CTX_use_certificate(context.get(), certificate.get());
  SSL_CTX_use_PrivateKey(context.get(), key.get());
  FILE* out = fopen(file.c_str(), "w");
  PEM_write_X509(out, certificate.get());
  fclose(out);
  return context;
}

// Passes on what comes over TLS to a server's socket, and back; one connection after another.
class Proxy {
 public:
  Proxy(const std::string& socket, const std::string& certificate)
      : context_(make_context(certificate)), socket_(socket), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (int client; (client = accept(listener_, nullptr, nullptr)) >= 0; close(client)) serve(client);
    });
  }
  ~Proxy() {
    is_ending_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  int port;

 private:
  void serve(int client) {
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context_.get()), SSL_free);
    SSL_set_fd(ssl.get(), client);
    if (SSL_accept(ssl.get()) != 1) {
      ERR_clear_error();
      return;
    }
    const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    char bytes[4096];
    while (!is_ending_) {
      pollfd both[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      poll(both, 2, 50);
      if (both[0].revents != 0) {
        const int n = SSL_read(ssl.get(), bytes, sizeof bytes);
        if (n <= 0 || write(server, bytes, static_cast<size_t>(n)) != n) break;
      }
      if (both[1].revents != 0) {
        const ssize_t n = read(server, bytes, sizeof bytes);
        if (n <= 0 || SSL_write(ssl.get(), bytes, static_cast<int>(n)) != n) break;
      }
    }
    ERR_clear_error();
    close(server);
  }

  static ssize_t read(int descriptor, char* bytes, size_t size) { return ::read(descriptor, bytes, size); }

  Context context_;
  std::string socket_;
  int listener_;
  std::atomic<bool> is_ending_{false};
  std::thread thread_;
};

TEST(RedisTls, TheServersCertificateIsChecked) {
  if (RedisServer::program() == nullptr) GTEST_SKIP() << "RECBLR_REDIS_SERVER names no redis-server";
  const RedisServer server;
  const TemporaryFolder folder;
  const std::string certificate = folder.path() + "/ca.pem";
  const Proxy proxy(server.socket(), certificate);
  const std::string by_name = "rediss://localhost:" + std::to_string(proxy.port),
                    by_number = "rediss://127.0.0.1:" + std::to_string(proxy.port),
                    trusted = "?ssl_ca_certs=" + certificate;
  for (const std::string& address :
       {by_name + trusted, by_number + trusted + "&ssl_check_hostname=false", by_number + "?ssl_cert_reqs=none"}) {
    RedisStore store(address, std::nullopt);
    EXPECT_TRUE(append(store, event(Id::of("u"), {Id::of(1)}))) << address;
    EXPECT_TRUE(append(store, event(Id::of("u"), {Id::of(2)}))) << address;
  }
  const auto refusal = [](const std::string& address) {
    return store_error([&] { RedisStore(address, std::nullopt); });
  };
  EXPECT_NE(refusal(by_name).find("TLS: self-signed certificate; nothing was opened"), std::string::npos)
      << refusal(by_name);
  EXPECT_NE(refusal(by_number + trusted).find("TLS: IP address mismatch"), std::string::npos)
      << refusal(by_number + trusted);
  EXPECT_NE(refusal(by_name + "?ssl_ca_certs=" + folder.path() + "/none").find("cannot be used"), std::string::npos);
}

}  // namespace
}  // namespace recblr::tests
