// SHA-256, as hex digits.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace recblr {

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  ~Sha256();

  void update(std::string_view content);
  // 64 hex digits of all that was given; nothing may follow.
  std::string hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_of(std::string_view content);

}  // namespace recblr
