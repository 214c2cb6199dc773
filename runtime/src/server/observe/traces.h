// Sends spans of each request to a collector of OpenTelemetry traces.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/observe/http_post.h"
#include "server/observe/log.h"
#include "server/observe/record.h"
#include "server/observe/span.h"

namespace recblr::server {

struct TraceTarget {
  Url url;  // with its path, .../v1/traces
  Headers headers;
  std::string trusted;  // a file of certificates, for HTTPS; "": the system's
  std::string service = "recblr";
  double sample = 1;  // share of requests without a trace of the client's own, of whom the client decides
};

// Threads may share it. No request waits for it: spans are sent in batches by a thread of its own, at most some
// thousands wait, and those beyond, or that the collector does not take, are left out and counted. What is sent and
// counted are requests, whatever their parts.
class Traces {
 public:
  Traces(TraceTarget target, Log* log);
  ~Traces();

  void add(const RequestRecord& record, std::string_view fingerprint);
  int64_t sent() const;
  int64_t dropped() const;
  // Sends what waits, and takes no more; whether that ended within `timeout` seconds.
  bool stop(double timeout);

 private:
  void run();
  void send(const Span* spans, size_t n);
  // Counts how it went; whether that is to be told.
  bool count(size_t n, bool is_taken);

  const TraceTarget target_;
  Log* const log_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<Span> waiting_;
  int64_t sent_ = 0, dropped_ = 0;
  bool is_stopped_ = false, has_ended_ = false, has_failed_ = false;
  std::thread thread_;
};

}  // namespace recblr::server
