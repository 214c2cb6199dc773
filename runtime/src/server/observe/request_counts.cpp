#include "server/observe/request_counts.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace recblr::server {

namespace {

constexpr unsigned kParts = 32;  // threads that count at once, at most, in programs of usual size

unsigned part_of_this_thread() {
  static std::atomic<unsigned> next{0};
  thread_local const unsigned part = next++ % kParts;
  return part;
}

struct Ended {
  int status;
  std::string reason;
  int64_t count;
};

// Names of a route are static, so that where they lie tells them apart at once; what is told from two places is joined
// in `all`.
struct Key {
  const char *protocol, *method, *route;
  bool operator==(const Key& other) const {
    return protocol == other.protocol && method == other.method && route == other.route;
  }
};
struct Hash {
  size_t operator()(const Key& key) const {
    const std::hash<const void*> hash;
    return hash(key.route) * 31 + hash(key.method) * 7 + hash(key.protocol);
  }
};

struct Counted {
  RouteName name;
  std::vector<Ended> ended;
  RouteCounts counts;  // but for `ended`
};

}  // namespace

struct alignas(64) RequestCounts::Part {
  std::mutex mutex;
  std::unordered_map<Key, Counted, Hash> routes;
};

RequestCounts::RequestCounts() : parts_(std::make_unique<Part[]>(kParts)) {}
RequestCounts::~RequestCounts() = default;

void RequestCounts::add(const RequestRecord& record) {
  Part& part = parts_[part_of_this_thread()];
  const auto bucket =
      std::lower_bound(kRequestSeconds.begin(), kRequestSeconds.end(), record.seconds) - kRequestSeconds.begin();
  const std::lock_guard<std::mutex> lock(part.mutex);
  Counted& counted = part.routes[{record.protocol.data(), record.method.data(), record.route.data()}];
  if (counted.ended.empty()) {
    counted.name = {std::string(record.protocol), std::string(record.method), std::string(record.route)};
  }
  const auto known = std::find_if(counted.ended.begin(), counted.ended.end(), [&record](const Ended& ended) {
    return ended.status == record.status && ended.reason == record.reason;
  });
  if (known != counted.ended.end()) {
    ++known->count;
  } else {
    counted.ended.push_back({record.status, std::string(record.reason), 1});
  }
  RouteCounts& counts = counted.counts;
  ++counts.seconds[static_cast<size_t>(bucket)];
  counts.seconds_total += record.seconds;
  counts.rows += record.rows;
  counts.items += record.items;
  counts.request_bytes += record.request_bytes;
  counts.response_bytes += record.response_bytes;
}

std::map<RouteName, RouteCounts> RequestCounts::all() const {
  std::map<RouteName, RouteCounts> all;
  for (unsigned j = 0; j < kParts; ++j) {
    Part& part = parts_[j];
    const std::lock_guard<std::mutex> lock(part.mutex);
    for (const auto& [key, counted] : part.routes) {
      RouteCounts& sum = all[counted.name];
      for (const Ended& ended : counted.ended) sum.ended[{ended.status, ended.reason}] += ended.count;
      for (size_t bucket = 0; bucket < sum.seconds.size(); ++bucket) {
        sum.seconds[bucket] += counted.counts.seconds[bucket];
      }
      sum.seconds_total += counted.counts.seconds_total;
      sum.rows += counted.counts.rows;
      sum.items += counted.counts.items;
      sum.request_bytes += counted.counts.request_bytes;
      sum.response_bytes += counted.counts.response_bytes;
    }
  }
  return all;
}

}  // namespace recblr::server
