#include "server/http/token_check.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "server/http/text.h"

namespace recblr::server {
namespace {

constexpr std::string_view kBearer = "Bearer ";

}  // namespace

TokenCheck::TokenCheck(const Tokens& tokens) {
  if (!tokens.user.empty()) user_ = digest(tokens.user);
  if (!tokens.admin.empty()) admin_ = digest(tokens.admin);
}

TokenCheck::Digest TokenCheck::digest(std::string_view token) {
  Digest result;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), result.data());
  return result;
}

std::optional<Reply> TokenCheck::refusal(Access access, std::string_view authorization) const {
  const bool needs_admin = access == Access::kAdmin && admin_;
  if (access == Access::kPublic || !(needs_admin || user_)) return std::nullopt;
  const bool has_token = same_ignoring_case(authorization.substr(0, kBearer.size()), kBearer);
  const Digest given = digest(has_token ? authorization.substr(kBearer.size()) : std::string_view());
  const auto is = [&](const std::optional<Digest>& token) {
    return has_token && token && CRYPTO_memcmp(token->data(), given.data(), given.size()) == 0;
  };
  const bool is_user = is(user_), is_admin = is(admin_);
  if (is_admin || (is_user && !needs_admin)) return std::nullopt;
  if (is_user) return error_reply(403, "this token is a user's, but the route needs the admin's");
  Reply reply = error_reply(401, has_token ? "the token is none of this server's: ask whoever runs it for one"
                                           : "a token is needed: send the header Authorization: Bearer TOKEN");
  reply.headers.emplace_back("WWW-Authenticate", has_token ? "Bearer error=\"invalid_token\"" : "Bearer");
  return reply;
}

}  // namespace recblr::server
