// /v1/users: users whose histories the server keeps.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http/exchange.h"
#include "server/model/models.h"
#include "server/v1/routes.h"
#include "server/work/pool.h"

namespace recblr::server {

// Threads may share it. All is done in the pool, since stores wait for disks and other machines; but for rankings of
// users whose state is cached before a store in memory, which need no waiting.
class Users {
 public:
  Users(const Models* models, Pool* pool, const V1Options& options) : models_(models), pool_(pool), options_(options) {}
  void add_events(const ExchangePtr& exchange) const;  // POST /v1/users/{id}/events
  void recommend(const ExchangePtr& exchange) const;   // GET /v1/users/{id}/recommendations
  void history(const ExchangePtr& exchange) const;     // GET /v1/users/{id}
  void forget(const ExchangePtr& exchange) const;      // DELETE /v1/users/{id}

 private:
  // `left`: seconds that it may still wait.
  using Call = std::function<Expected<std::string>(const Recommender& users, std::optional<double> left)>;
  // Replies with the JSON that `call` gives, run in the pool; where it waited there longer than it may, with an error.
  void run(const ExchangePtr& exchange, Call call) const;

  const Models* models_;
  Pool* pool_;
  const V1Options options_;
};

}  // namespace recblr::server
