#include "server/http/request_id.h"

#include <cstdint>
#include <random>

namespace recblr::server {
namespace {

constexpr size_t kLongest = 128;

}  // namespace

bool is_sane_request_id(std::string_view id) {
  if (id.empty() || id.size() > kLongest) return false;
  for (const char c : id) {
    if (c <= ' ' || c > '~') return false;
  }
  return true;
}

std::string new_request_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  static thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::string id;
  id.reserve(32);
  for (int word = 0; word < 2; ++word) {
    uint64_t bits = random();
    for (int digit = 0; digit < 16; ++digit, bits >>= 4) id += kHex[bits & 15];
  }
  return id;
}

}  // namespace recblr::server
