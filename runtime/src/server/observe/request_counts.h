// Counts requests by what they asked and how they ended.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "server/observe/record.h"

namespace recblr::server {

// Upper bounds, inclusive, in seconds; one more bucket holds what is above.
constexpr std::array<double, 16> kRequestSeconds = {.0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                                    .05,   .1,     .25,   .5,   1,     2.5,  5,   10};

struct RouteName {
  std::string protocol, method, route;
  bool operator<(const RouteName& other) const {
    return std::tie(protocol, method, route) < std::tie(other.protocol, other.method, other.route);
  }
};

struct RouteCounts {
  std::map<std::pair<int, std::string>, int64_t> ended;  // by status and reason
  std::array<int64_t, kRequestSeconds.size() + 1> seconds{};
  double seconds_total = 0;
  int64_t rows = 0, items = 0, request_bytes = 0, response_bytes = 0;
};

// Adding costs a fraction of a microsecond, and threads do not wait for each other: each adds to one of a few parts.
class RequestCounts {
 public:
  RequestCounts();
  ~RequestCounts();
  void add(const RequestRecord& record);
  std::map<RouteName, RouteCounts> all() const;

 private:
  struct Part;
  const std::unique_ptr<Part[]> parts_;
};

}  // namespace recblr::server
