// OpenSSL 3 calls these functions old; its new ones do the same and bring 4 MB of the static library with them.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "bundle/sha256.h"

#include <openssl/sha.h>

namespace recblr {

struct Sha256::Context {
  SHA256_CTX state;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) { SHA256_Init(&context_->state); }

Sha256::Sha256(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::string_view content) { SHA256_Update(&context_->state, content.data(), content.size()); }

std::string Sha256::hex() {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256_Final(digest, &context_->state);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * sizeof digest);
  for (const unsigned char byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string sha256_of(std::string_view content) {
  Sha256 sha256;
  sha256.update(content);
  return sha256.hex();
}

}  // namespace recblr
