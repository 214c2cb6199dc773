// Which trace a request belongs to, as W3C's traceparent says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace recblr::server {

// In lower-case hexadecimal digits.
struct TraceContext {
  std::string trace_id;   // 32
  std::string parent_id;  // 16: the caller's span
  bool is_sampled = false;
};

// nothing where it is no traceparent, or of a version that cannot be read.
std::optional<TraceContext> read_traceparent(std::string_view text);

// Drawn at random, not 0.
std::string new_trace_id();
std::string new_span_id();

// A number from 0 to 1, without 1, drawn at random.
double random_share();

}  // namespace recblr::server
