#include "server/oip/routes.h"

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <utility>

#include "server/answer/json_text.h"
#include "server/answer/replies.h"
#include "server/oip/descriptions.h"
#include "server/oip/infer.h"
#include "server/oip/model_lookup.h"

namespace recblr::server {
namespace {

void add_health_routes(Router* router, const Models* models) {
  const Handler live = [](const ExchangePtr& exchange) { reply_json(exchange, R"({"live":true})"); };
  const Handler ready = [models](const ExchangePtr& exchange) {
    Reply reply;
    const bool is_ready = models->ready();
    reply.status = is_ready ? 200 : 503;
    reply.body = is_ready ? R"({"ready":true})" : R"({"ready":false})";
    if (!is_ready) exchange->record().reason = "not_ready";
    exchange->reply(std::move(reply));
  };
  for (const char* path : {"/v2/health/live", "/live"}) router->add(Method::kGet, path, Access::kPublic, live);
  for (const char* path : {"/v2/health/ready", "/ready"}) router->add(Method::kGet, path, Access::kPublic, ready);
}

using ModelHandler = std::function<void(const ExchangePtr&, const ServedModelPtr&)>;

// `handler` gets the model that the path names; where it is not there, that is said.
void add_model_route(Router* router, const Models* models, Method method, const std::string& end,
                     const ModelHandler& handler) {
  const Handler look_up_first = [models, handler](const ExchangePtr& exchange) {
    const std::vector<std::string>& parameters = exchange->request().parameters;
    const ModelLookup found = look_up(*models, parameters[0], parameters.size() > 1 ? parameters[1] : "");
    if (found.model != nullptr) return handler(exchange, found.model);
    if (found.is_known) return reply_error(exchange, 503, "loading", found.message);
    reply_error(exchange, 404, "no_model", found.message);
  };
  for (const char* begin : {"/v2/models/{name}", "/v2/models/{name}/versions/{version}"}) {
    router->add(method, begin + end, Access::kUser, look_up_first);
  }
}

void reply_model_ready(const ExchangePtr& exchange, const ServedModel& model, bool is_ready) {
  if (!is_ready) return reply_error(exchange, 503, "not_ready", "the server ends: ask another one");
  std::string text = R"({"name":)";
  append_string(model.name, &text);
  reply_json(exchange, text + R"(,"ready":true})");
}

// Whether {"ready": true} asks for models that are ready alone. Other fields are left alone.
Expected<bool> read_index_request(std::string_view body) {
  constexpr size_t kMost = 4096;  // bytes; it has one field
  const auto refusal = [](const char* what) {
    return Failure{Status::kInvalidArgument,
                   std::string(what) + R"(: give an object such as {"ready": true}, or none)"};
  };
  if (body.empty()) return false;
  boost::json::error_code error;
  if (body.size() > kMost) return refusal("the body is larger than 4,096 bytes");
  const boost::json::value value = boost::json::parse({body.data(), body.size()}, error);
  if (error || !value.is_object()) return refusal("the body is no JSON object");
  const boost::json::value* const ready = value.get_object().if_contains("ready");
  if (ready == nullptr) return false;
  if (!ready->is_bool()) return refusal("ready is neither true nor false");
  return ready->get_bool();
}

void reply_repository_index(const Models& models, const ExchangePtr& exchange) {
  const Expected<bool> is_ready_alone = read_index_request(exchange->request().body);
  if (!is_ready_alone) return reply_failure(exchange, is_ready_alone.error());
  const bool is_ready = models.ready();
  const ServedModelPtr model = *is_ready_alone && !is_ready ? nullptr : models.current();
  reply_json(exchange, repository_index_text(model.get(), is_ready));
}

}  // namespace

void add_oip_routes(Router* router, const Models* models, Pool* pool, OipStatistics* statistics,
                    const OipOptions& options) {
  add_health_routes(router, models);
  router->add(Method::kGet, "/v2", Access::kUser,
              [](const ExchangePtr& exchange) { reply_json(exchange, server_metadata_text()); });
  router->add(Method::kPost, "/v2/repository/index", Access::kUser,
              [models](const ExchangePtr& exchange) { reply_repository_index(*models, exchange); });
  router->add(Method::kGet, "/v2/models/stats", Access::kUser, [models, statistics](const ExchangePtr& exchange) {
    const ServedModelPtr model = models->current();
    if (model == nullptr) return reply_loading(exchange);
    reply_json(exchange, statistics_text(*model, *statistics));
  });
  add_model_route(router, models, Method::kGet, "", [](const ExchangePtr& exchange, const ServedModelPtr& model) {
    reply_json(exchange, model_metadata_text(*model));
  });
  add_model_route(router, models, Method::kGet, "/ready",
                  [models](const ExchangePtr& exchange, const ServedModelPtr& model) {
                    reply_model_ready(exchange, *model, models->ready());
                  });
  add_model_route(router, models, Method::kGet, "/stats",
                  [statistics](const ExchangePtr& exchange, const ServedModelPtr& model) {
                    reply_json(exchange, statistics_text(*model, *statistics));
                  });
  const auto infer = std::make_shared<Infer>(pool, statistics, options);
  add_model_route(
      router, models, Method::kPost, "/infer",
      [infer](const ExchangePtr& exchange, const ServedModelPtr& model) { infer->answer(exchange, model); });
}

}  // namespace recblr::server
