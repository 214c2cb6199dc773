#include "server/observe/trace_context.h"

#include <algorithm>
#include <random>

namespace recblr::server {

namespace {

std::mt19937_64& random() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seeds{device(), device(), device(), device()};
    return std::mt19937_64(seeds);
  }();
  return random;
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

std::string random_digits(int words) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string digits;
  do {
    digits.clear();
    for (int j = 0; j < words; ++j) {
      const uint64_t word = random()();
      for (int shift = 60; shift >= 0; shift -= 4) digits += kDigits[word >> shift & 15];
    }
  } while (is_zero(digits));
  return digits;
}

}  // namespace

std::optional<TraceContext> read_traceparent(std::string_view text) {
  // version-trace id-parent id-flags; later versions may have more, behind another '-'.
  constexpr size_t kSize = 55;
  if (text.size() < kSize || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32), parent = text.substr(36, 16),
                         flags = text.substr(53, 2);
  if (!is_hex(version) || version == "ff" || !is_hex(trace) || !is_hex(parent) || !is_hex(flags)) return std::nullopt;
  if (text.size() > kSize && (version == "00" || text[kSize] != '-')) return std::nullopt;
  if (is_zero(trace) || is_zero(parent)) return std::nullopt;
  const char last = flags[1];
  const int value = last <= '9' ? last - '0' : last - 'a' + 10;
  return TraceContext{std::string(trace), std::string(parent), (value & 1) != 0};
}

std::string new_trace_id() { return random_digits(2); }
std::string new_span_id() { return random_digits(1); }

double random_share() { return std::generate_canonical<double, 53>(random()); }

}  // namespace recblr::server
