// Whether a request may use a route.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/http_server.h"
#include "server/http/router.h"

namespace recblr::server {

// Compares digests, in constant time, so that neither the tokens' text nor their length can be told from how long it
// takes.
class TokenCheck {
 public:
  explicit TokenCheck(const Tokens& tokens);
  // The reply of one who may not; `authorization` is that header's value.
  std::optional<Reply> refusal(Access access, std::string_view authorization) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest(std::string_view token);

  std::optional<Digest> user_, admin_;
};

}  // namespace recblr::server
