#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "recblr/recblr.h"
#include "server/v1/page_texts.h"
#include "server/v1/routes.h"
#include "serving/text.h"

namespace recblr::server {

namespace {

// Nothing is loaded from elsewhere, nor sent there.
constexpr const char* kContentPolicy =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

void replace_all(std::string_view what, std::string_view by, std::string* text) {
  for (size_t at = text->find(what); at != std::string::npos; at = text->find(what, at + by.size())) {
    text->replace(at, what.size(), by);
  }
}

Handler page(std::string_view html) {
  return [html](const ExchangePtr& exchange) {
    Reply reply;
    reply.content_type = "text/html; charset=utf-8";
    reply.body = html;
    reply.headers = {{"Cache-Control", "no-cache"},
                     {"Content-Security-Policy", kContentPolicy},
                     {"Referrer-Policy", "no-referrer"},
                     {"X-Content-Type-Options", "nosniff"}};
    exchange->reply(std::move(reply));
  };
}

// The API's description with the limits, for a document whose folder is `server` away from the root.
std::string api_text(const V1Options& options, std::string_view server) {
  std::string text(kOpenApi);
  replace_all("@version@", recblr_version(), &text);
  replace_all("@server@", server, &text);
  const std::pair<const char*, int64_t> numbers[] = {
      {"@max_users@", options.limits.max_users},     {"@max_history@", options.limits.max_history},
      {"@max_ids@", options.limits.max_ids},         {"@max_k@", options.limits.max_k},
      {"@max_results@", options.limits.max_results}, {"@max_body_bytes@", options.max_body_bytes}};
  for (const auto& [name, number] : numbers) {
    replace_all("\"" + std::string(name) + "\"", std::to_string(number), &text);
    replace_all(name, serving::grouped(number), &text);
  }
  return text;
}

Handler api(const Models* models, std::shared_ptr<const std::string> text) {
  return [models, text = std::move(text)](const ExchangePtr& exchange) {
    Reply reply;
    reply.body = *text;
    const ServedModelPtr model = models->current();
    std::string id_type = "No model is loaded yet.";
    if (model != nullptr) {
      id_type = model->bundle.has_string_ids() ? "The item ids of this model are strings."
                                               : "The item ids of this model are integers.";
    }
    replace_all("@id_type@", id_type, &reply.body);
    exchange->reply(std::move(reply));
  };
}

}  // namespace

void add_page_routes(Router* router, const Models* models, const V1Options& options) {
  router->add(Method::kGet, "/", Access::kPublic, page(kStatusPage));
  router->add(Method::kGet, "/docs", Access::kPublic, page(kDocsPage));
  for (const auto& [path, server] : {std::pair("/openapi.json", "."), std::pair("/v1/openapi.json", "..")}) {
    router->add(Method::kGet, path, Access::kPublic,
                api(models, std::make_shared<const std::string>(api_text(options, server))));
  }
}

}  // namespace recblr::server
