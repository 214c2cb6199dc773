// GET /metrics.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "server/http/exchange.h"
#include "server/observe/metrics.h"
#include "server/work/pool.h"

namespace recblr::server {

// Writes one text at a time, in the pool, for all who wait for it: whoever asks, and how often, takes one thread at
// most.
class MetricsPage : public std::enable_shared_from_this<MetricsPage> {
 public:
  // What is given must outlive it.
  MetricsPage(const Metrics* metrics, Pool* pool) : metrics_(metrics), pool_(pool) {}
  // With a text that is begun after this.
  void answer(const ExchangePtr& exchange);

 private:
  void write();
  // Those that wait, who are no longer; none: nothing is being written from now on.
  std::vector<ExchangePtr> take();

  const Metrics* const metrics_;
  Pool* const pool_;
  std::mutex mutex_;
  std::vector<ExchangePtr> waiting_;
  bool is_writing_ = false;
};

}  // namespace recblr::server
