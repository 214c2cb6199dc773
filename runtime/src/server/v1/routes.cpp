#include "server/v1/routes.h"

#include <memory>

#include "server/v1/model_routes.h"
#include "server/v1/recommend.h"
#include "server/v1/users.h"

namespace recblr::server {

void add_v1_routes(Router* router, Models* models, Pool* pool, Pool* users_pool, const V1Options& options) {
  const auto recommend = std::make_shared<Recommend>(models, pool, options);
  router->add(Method::kPost, "/v1/recommend", Access::kUser,
              [recommend](const ExchangePtr& exchange) { recommend->answer(exchange); });

  const auto users = std::make_shared<const Users>(models, users_pool, options);
  router->add(Method::kPost, "/v1/users/{id}/events", Access::kUser,
              [users](const ExchangePtr& exchange) { users->add_events(exchange); });
  router->add(Method::kGet, "/v1/users/{id}/recommendations", Access::kUser,
              [users](const ExchangePtr& exchange) { users->recommend(exchange); });
  router->add(Method::kGet, "/v1/users/{id}", Access::kUser,
              [users](const ExchangePtr& exchange) { users->history(exchange); });
  router->add(Method::kDelete, "/v1/users/{id}", Access::kUser,
              [users](const ExchangePtr& exchange) { users->forget(exchange); });

  router->add(Method::kGet, "/v1/model", Access::kUser,
              [models](const ExchangePtr& exchange) { reply_model(*models, exchange); });
  router->add(Method::kPost, "/v1/model/reload", Access::kAdmin,
              [models, pool, any_path = options.reloads_any_path](const ExchangePtr& exchange) {
                reload_model(models, pool, any_path, exchange);
              });
  router->add(Method::kPost, "/v1/model/rollback", Access::kAdmin,
              [models, pool](const ExchangePtr& exchange) { rollback_model(models, pool, exchange); });
}

}  // namespace recblr::server
