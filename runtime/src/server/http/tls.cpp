#include "server/http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <string>

#include "recblr/recblr.hpp"

namespace recblr::server {
namespace {

namespace ssl = boost::asio::ssl;

void check(bool good, const std::string& what) {
  if (good) return;
  const unsigned long code = ERR_get_error();
  const char* const reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  throw Error({Status::kBadConfig, what + (reason != nullptr ? std::string(" (") + reason + ")" : "")});
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                    unsigned offered_length, void*) {
  static constexpr unsigned char kHttp[] = "\x08http/1.1";
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, kHttp, sizeof(kHttp) - 1, offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

std::unique_ptr<ssl::context> make_tls(const TlsFiles& files) {
  if (files.certificate.empty() || files.key.empty()) {
    throw Error({Status::kBadConfig, "TLS needs both a certificate and its key: give the other file, too"});
  }
  auto tls = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const context = tls->native_handle();
  ERR_clear_error();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  // Without it OpenSSL would ask a terminal for the password of a key that has one.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
  // The key first: behind the certificate, one that does not fit would be an error of its file.
  check(SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) == 1,
        "the key file '" + files.key + "' cannot be read: give one in PEM form, without a password, of '" +
            files.certificate + "'");
  check(SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) == 1,
        "the certificate file '" + files.certificate + "' cannot be read: give one in PEM form, its chain behind it");
  check(SSL_CTX_check_private_key(context) == 1,
        "the key in '" + files.key + "' is not that of the certificate in '" + files.certificate + "'");
  if (files.client_ca.empty()) return tls;
  check(SSL_CTX_load_verify_locations(context, files.client_ca.c_str(), nullptr) == 1,
        "the file of clients' certificate authorities '" + files.client_ca + "' cannot be read: give one in PEM form");
  STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(files.client_ca.c_str());
  check(names != nullptr, "the file of clients' certificate authorities '" + files.client_ca + "' cannot be read");
  SSL_CTX_set_client_CA_list(context, names);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  static constexpr unsigned char kSession[] = "recblr";  // sessions with clients' certificates are only for this server
  SSL_CTX_set_session_id_context(context, kSession, sizeof(kSession) - 1);
  return tls;
}

}  // namespace recblr::server
