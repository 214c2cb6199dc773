#include "server/http/admission.h"

#include <string>
#include <string_view>

#include "serving/text.h"

namespace recblr::server {
namespace {

constexpr size_t kLongestMethod = 20;  // of those that are shown

// Whether a browser asks for a page of another site, which could change something here: any page that is open on a
// machine reaches a server that needs no token because it listens on that machine only.
bool is_of_foreign_page(const Request& request) {
  if (request.method == Method::kGet || request.method == Method::kHead) return false;
  const std::string_view site = request.header("Sec-Fetch-Site");
  return !site.empty() && site != "same-origin" && site != "none";
}

}  // namespace

Admission admit(const ServerState& state, RequestReader& reader) {
  Request& request = reader.request();
  std::string allowed;
  Admission admission;
  admission.route = state.router.find(request.method, reader.raw_path(), &request.parameters, &allowed);
  if (admission.route == nullptr) {
    admission.objection = error_reply(allowed.empty() ? 404 : 405,
                                      "nothing answers " + reader.method_name().substr(0, kLongestMethod) + " " +
                                          serving::shown(request.path) + ": the page /docs lists what does");
    if (!allowed.empty()) admission.objection->headers.emplace_back("Allow", allowed);
    return admission;
  }
  if (is_of_foreign_page(request)) {
    admission.objection =
        error_reply(403, "a page of another site may not ask this: ask from a program, or from /docs");
    return admission;
  }
  admission.objection = state.tokens.refusal(admission.route->access, request.header("Authorization"));
  if (!admission.objection) admission.objection = busy(state, *admission.route);
  return admission;
}

std::optional<Reply> busy(const ServerState& state, const Route& route) {
  const int64_t most = state.options.limits.max_concurrent;
  if (route.access == Access::kPublic || state.concurrent < most) return std::nullopt;
  return error_reply(503,
                     std::to_string(most) + " requests are being answered, as many as may be at once: try again later");
}

Reply too_many_connections() {
  return error_reply(503, "there are as many connections as may be at once: try again later");
}

}  // namespace recblr::server
