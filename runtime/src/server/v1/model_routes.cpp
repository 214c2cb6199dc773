#include "server/v1/model_routes.h"

#include <chrono>
#include <ctime>
#include <optional>
#include <string>
#include <utility>

#include "server/answer/json_text.h"
#include "server/answer/replies.h"
#include "server/v1/body_reader.h"

namespace recblr::server {

namespace {

// As RFC 3339 has it, in UTC.
std::string time_text(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text, size};
}

// `previous` is what a rollback goes back to, or nullptr.
std::string model_text(const ServedModel& model, const ServedModel* previous) {
  std::string text = "{\"name\":";
  const auto add_string = [&text](const char* name, std::string_view value) {
    text += ",\"" + std::string(name) + "\":";
    append_string(value, &text);
  };
  const auto add_integer = [&text](const char* name, int64_t value) {
    text += ",\"" + std::string(name) + "\":";
    append_integer(value, &text);
  };
  append_string(model.name, &text);
  add_string("path", model.resolved_path);
  add_string("fingerprint", model.bundle.fingerprint());
  add_integer("version", model.version);
  add_string("loaded", time_text(model.loaded));
  add_integer("n_items", model.bundle.n_items());
  add_string("id_type", model.bundle.has_string_ids() ? "string" : "integer");
  add_integer("state_size", model.bundle.state_size());
  add_string("description", model.engine.description());
  if (previous == nullptr) return text + ",\"previous\":null}";
  add_string("previous", previous->bundle.fingerprint());
  return text + "}";
}

bool is_of_bundle(const Failure& failure) {
  return failure.status == Status::kBadBundle || failure.status == Status::kBadConfig;
}

}  // namespace

void reply_model(const Models& models, const ExchangePtr& exchange) {
  const ServedModelPtr model = models.current();
  if (model == nullptr) return reply_loading(exchange);
  reply_json(exchange, model_text(*model, models.previous().get()));
}

void reload_model(Models* models, Pool* pool, bool any_path, const ExchangePtr& exchange) {
  run_in_pool(pool, exchange, [models, any_path, exchange] {
    std::optional<std::string> path;
    if (!exchange->request().body.empty()) {
      const auto read = read_body(exchange->request().body, {{"path", &path, "give a string", false, true}});
      if (!read) return reply_failure(exchange, read.error());
    }
    if (!any_path && !path.value_or("").empty()) {
      return reply_error(exchange, 403, "unauthorized",
                         "path may be given only where admins have a token of their own: start the server with "
                         "--admin-token-file, or leave path out to load what --engine leads to");
    }
    const Expected<ServedModelPtr> changed = models->reload(path.value_or(""));
    if (changed) return reply_json(exchange, model_text(**changed, models->previous().get()));
    const Failure& failure = changed.error();
    if (!is_of_bundle(failure)) return reply_failure(exchange, failure);
    // What is wrong with a bundle is for whoever asks for it. The path is their fault, or the server's.
    if (path.value_or("").empty()) {
      exchange->record().detail = failure.message;
      return reply_error(exchange, 500, "internal", failure.message);
    }
    reply_failure(exchange, {Status::kInvalidArgument, failure.message});
  });
}

void rollback_model(Models* models, Pool* pool, const ExchangePtr& exchange) {
  run_in_pool(pool, exchange, [models, exchange] {
    const Expected<ServedModelPtr> changed = models->rollback();
    if (changed) return reply_json(exchange, model_text(**changed, models->previous().get()));
    const Failure& failure = changed.error();
    if (failure.status != Status::kInvalidArgument) return reply_failure(exchange, failure);
    reply_error(exchange, 409, "no_model", failure.message);  // there is none before
  });
}

}  // namespace recblr::server
