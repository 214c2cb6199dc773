// TLS, and clients with certificates.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "recblr/recblr.hpp"
#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

// A key, and a certificate that it signs itself, in files.
struct Identity {
  explicit Identity(const std::string& base) : certificate(base + ".crt"), key(base + ".key") {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> x509(X509_new(), X509_free);
    X509_set_version(x509.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509.get()), 3600);
    X509_set_pubkey(x509.get(), pair.get());
    X509_NAME* const name = X509_get_subject_name(x509.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1,
                               0);
    X509_set_issuer_name(x509.get(), name);
    X509_sign(x509.get(), pair.get(), EVP_sha256());
    std::FILE* out = std::fopen(certificate.c_str(), "w");
    PEM_write_X509(out, x509.get());
    std::fclose(out);
    out = std::fopen(key.c_str(), "w");
    PEM_write_PrivateKey(out, pair.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
  }

  std::string certificate, key;
};

class HttpTls : public HttpServerFixture {
 protected:
  HttpTls() { std::filesystem::create_directories(folder); }
  ~HttpTls() override { std::filesystem::remove_all(folder); }

  // Serves with an identity of its own.
  Identity start_with_identity() {
    const Identity identity(folder + "server");
    options.tls = {identity.certificate, identity.key, ""};
    start();
    return identity;
  }
  // What a client gets that trusts `trusted`, with an identity of its own or without; "" where TLS failed. A body that
  // is to be `invited` is sent behind the first answer.
  std::string ask(const Identity& trusted, const Identity* own, const std::string& request, int version = 0,
                  const std::string& invited = "") {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_load_verify_locations(context.get(), trusted.certificate.c_str(), nullptr);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_security_level(context.get(), 0);
    SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (version != 0) SSL_CTX_set_max_proto_version(context.get(), version);
    if (own != nullptr) {
      SSL_CTX_use_certificate_file(context.get(), own->certificate.c_str(), SSL_FILETYPE_PEM);
      SSL_CTX_use_PrivateKey_file(context.get(), own->key.c_str(), SSL_FILETYPE_PEM);
    }
    const Client client = connect();
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
    static constexpr unsigned char kOffered[] = "\x02h2\x08http/1.1";
    SSL_set_alpn_protos(ssl.get(), kOffered, sizeof(kOffered) - 1);
    SSL_set_fd(ssl.get(), client.fd());
    std::string answer;
    if (SSL_connect(ssl.get()) == 1 && SSL_write(ssl.get(), request.data(), static_cast<int>(request.size())) > 0) {
      const unsigned char* chosen = nullptr;
      unsigned length = 0;
      SSL_get0_alpn_selected(ssl.get(), &chosen, &length);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(chosen), length), "http/1.1");
      char bytes[16384];
      if (!invited.empty()) {
        const int n = SSL_read(ssl.get(), bytes, sizeof(bytes));
        answer.append(bytes, static_cast<size_t>(std::max(n, 0)));
        SSL_write(ssl.get(), invited.data(), static_cast<int>(invited.size()));
      }
      for (int n = 0; (n = SSL_read(ssl.get(), bytes, sizeof(bytes))) > 0;)
        answer.append(bytes, static_cast<size_t>(n));
      said_goodbye = (SSL_get_shutdown(ssl.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
    }
    ERR_clear_error();
    return answer;
  }
  std::string error() {
    options.addresses = {"127.0.0.1:0"};
    try {
      HttpServer server(options, router, nullptr);
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kBadConfig);
      return error.what();
    }
    return "none";
  }

  const std::string folder = ::testing::TempDir() + "recblr_tls_" + std::to_string(::getpid()) + "/";
  bool said_goodbye = false;
};

const char kClose[] = "Connection: close\r\n";

TEST_F(HttpTls, IsSpoken) {
  const Identity identity = start_with_identity();
  EXPECT_EQ(url().rfind("https://", 0), 0u);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const std::string answer = ask(identity, nullptr, get("/hello") + post("/later", "body", kClose), version);
    EXPECT_NE(answer.find("\r\n\r\nhello"), std::string::npos);
    EXPECT_NE(answer.find("\r\n\r\nbody"), std::string::npos);
    EXPECT_TRUE(said_goodbye);
  }
  const std::string large = ask(identity, nullptr, get("/big", kClose));
  EXPECT_EQ(large.substr(large.find("\r\n\r\n") + 4), std::string(8'000'000, 'b'));
  EXPECT_EQ(ask(identity, nullptr, get("/hello", kClose), TLS1_1_VERSION), "");
  wait_for_connections(0);
}

TEST_F(HttpTls, IsNeededWhereItIsSpoken) {
  start_with_identity();
  Client client = connect();
  EXPECT_EQ(client.send(get("/hello")).receive_all().find("HTTP"), std::string::npos);
  Client leaves = connect();
  leaves.leave();
  wait_for_connections(0);
}

TEST_F(HttpTls, InvitesBodies) {
  const Identity identity = start_with_identity();
  const std::string request = post("/echo", "body", std::string(kClose) + "Expect: 100-continue\r\n");
  const std::string answer = ask(identity, nullptr, request.substr(0, request.size() - 4), 0, "body");
  EXPECT_EQ(answer.rfind("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 0), 0u) << answer;
  EXPECT_NE(answer.find("\r\n\r\nbody"), std::string::npos);
}

TEST_F(HttpTls, IsMutual) {
  const Identity server_identity(folder + "server"), known(folder + "known"), stranger(folder + "stranger");
  options.tls = {server_identity.certificate, server_identity.key, known.certificate};
  start();
  EXPECT_NE(ask(server_identity, &known, get("/hello", kClose)).find("hello"), std::string::npos);
  EXPECT_EQ(ask(server_identity, &stranger, get("/hello", kClose)), "");
  EXPECT_EQ(ask(server_identity, nullptr, get("/hello", kClose)), "");
  EXPECT_EQ(finished.wait(1).size(), 1u);
}

TEST_F(HttpTls, DoesNotWaitForHandshakes) {
  options.limits.header_timeout = 0.05;
  start_with_identity();
  Client silent = connect();  // no handshake
  EXPECT_TRUE(silent.is_closed());
}

TEST_F(HttpTls, EndsWithTheServer) {
  start_with_identity();
  Client silent = connect();
  wait_for_connections(1);
  server->drain(0);
  EXPECT_TRUE(silent.is_closed());
}

TEST_F(HttpTls, HandshakesDoNotHoldUpTheEnd) {
  start_with_identity();
  Client silent = connect();
  wait_for_connections(1);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(server->drain(30), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
  EXPECT_TRUE(silent.is_closed());
}

TEST_F(HttpTls, NamesTheFileThatCannotBeUsed) {
  const Identity one(folder + "one"), other(folder + "other");
  std::ofstream(folder + "no.pem") << "no PEM";
  options.tls = {one.certificate, "", ""};
  EXPECT_EQ(error(), "TLS needs both a certificate and its key: give the other file, too");
  options.tls = {folder + "missing.crt", one.key, ""};
  EXPECT_NE(error().find("missing.crt' cannot be read"), std::string::npos);
  options.tls = {one.certificate, folder + "no.pem", ""};
  EXPECT_NE(error().find("no.pem' cannot be read"), std::string::npos);
  options.tls = {one.certificate, other.key, ""};
  EXPECT_NE(error().find("other.key' is not that of the certificate in '" + one.certificate), std::string::npos)
      << error();
  options.tls = {one.certificate, one.key, folder + "no.pem"};
  EXPECT_NE(error().find("no.pem' cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace recblr::server
