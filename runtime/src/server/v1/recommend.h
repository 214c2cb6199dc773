// POST /v1/recommend.
#pragma once

#include <memory>

#include "server/http/exchange.h"
#include "server/model/models.h"
#include "server/v1/routes.h"
#include "server/work/pool.h"

namespace recblr::server {

// Rankings for histories that are in the request. Threads may share it. Large bodies are read, and large answers
// written, in the pool, as other connections would wait for them.
class Recommend : public std::enable_shared_from_this<Recommend> {
 public:
  Recommend(const Models* models, Pool* pool, const V1Options& options)
      : models_(models), pool_(pool), options_(options) {}
  void answer(const ExchangePtr& exchange);

 private:
  struct Job;
  void ask(const ExchangePtr& exchange);
  void finish(const std::shared_ptr<Job>& job, const Expected<void>& done);

  const Models* models_;
  Pool* pool_;
  const V1Options options_;
};

}  // namespace recblr::server
