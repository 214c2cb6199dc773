// Metrics, log and traces of one server.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "server/http/router.h"
#include "server/model/models.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/observer.h"
#include "server/observe/traces.h"
#include "server/options/options.h"
#include "server/work/pool.h"

namespace recblr::server {

// Where everything that is told of the server goes. While it lives, the library's own log goes there, too.
class Observation : public Observer {
 public:
  // `models`, of which it asks for all events, must outlive it. Throws recblr::Error (kBadConfig) where traces cannot
  // be sent to what is named.
  Observation(const LogOptions& log, const TraceOptions& trace, Models* models);
  ~Observation() override;
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

  void finished(const RequestRecord& record) override;
  Log& log() { return log_; }
  Metrics& metrics() { return metrics_; }
  // Waits until all that was told has gone where it goes; whether that ended within `timeout` seconds. Nothing more is
  // to be told then but by the log.
  bool flush(double timeout);

 private:
  void tell(const ModelEvent& event);
  // Of stores that do not answer: once a second, as each request tells of it.
  bool may_warn();
  void write(LogLevel level, const RequestRecord& record);

  Models* const models_;
  const bool logs_requests_;
  std::atomic<int64_t> last_warning_{0};
  Log log_;
  Metrics metrics_;
  std::optional<Traces> traces_;
};

// GET /metrics, which needs no token: what is in it tells of no user. Written in the pool.
void add_metrics_route(Router* router, const Metrics* metrics, Pool* pool);

}  // namespace recblr::server
