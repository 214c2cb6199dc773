// POST /v2/models/{name}/infer.
#pragma once

#include <memory>

#include "server/http/exchange.h"
#include "server/oip/routes.h"

namespace recblr::server {

// Threads may share it. Large bodies are read, and large answers written, in the pool.
class Infer : public std::enable_shared_from_this<Infer> {
 public:
  Infer(Pool* pool, OipStatistics* statistics, const OipOptions& options)
      : pool_(pool), statistics_(statistics), options_(options) {}
  void answer(const ExchangePtr& exchange, const ServedModelPtr& model);

 private:
  struct Job;
  void ask(const std::shared_ptr<Job>& job);
  void finish(const std::shared_ptr<Job>& job, const Expected<void>& done);
  void write(Job* job);
  void fail(const Job& job, const Failure& failure);

  Pool* const pool_;
  OipStatistics* const statistics_;
  const OipOptions options_;
};

}  // namespace recblr::server
