#include "bundle/sha256.h"

#include <openssl/evp.h>

#include "base/error.h"

namespace recblr {

struct Sha256::Context {
  EVP_MD_CTX* handle = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(handle); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->handle == nullptr || EVP_DigestInit_ex(context_->handle, EVP_sha256(), nullptr) != 1) {
    refuse(Code::kInternal, "OpenSSL computes no SHA-256 here: check its configuration");
  }
}

Sha256::Sha256(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::string_view content) {
  if (EVP_DigestUpdate(context_->handle, content.data(), content.size()) != 1) {
    refuse(Code::kInternal, "OpenSSL failed to compute a SHA-256: check its configuration");
  }
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context_->handle, digest, &size) != 1) {
    refuse(Code::kInternal, "OpenSSL failed to compute a SHA-256: check its configuration");
  }
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * size);
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

std::string sha256_of(std::string_view content) {
  Sha256 sha256;
  sha256.update(content);
  return sha256.hex();
}

}  // namespace recblr
