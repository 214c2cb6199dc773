#include "server/http/admission.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/text.h"
#include "serving/text.h"

namespace recblr::server {
namespace {

constexpr size_t kLongestMethod = 20;  // of those that are shown

// Whether a browser asks for a page of another site, which could change something here: any page that is open on a
// machine reaches a server that needs no token because it listens on that machine only.
bool is_of_foreign_page(const Request& request) {
  if (request.method == Method::kGet || request.method == Method::kHead) return false;
  const std::string_view site = request.header("Sec-Fetch-Site");
  if (!site.empty()) return site != "same-origin" && site != "none";
  // Browsers leave it out where neither TLS nor localhost is asked, and old ones always do.
  const std::string_view origin = request.header("Origin");
  const size_t scheme = origin.find("://");
  const std::string_view host = scheme == std::string_view::npos ? std::string_view() : origin.substr(scheme + 3);
  return !origin.empty() && !(host.size() > 0 && same_ignoring_case(host, request.header("Host")));
}

// Whether a browser asks that could be made to ask here by a name that another site has. Over TLS, and for localhost,
// no other site has the name: there it sends Sec-Fetch-Site. Of others, what comes with Accept-Language is a browser's,
// but for Node.js, which adds Sec-Fetch-Mode.
bool may_be_led_here(const Request& request) {
  if (!request.header("Sec-Fetch-Site").empty()) return false;
  return !request.header("Origin").empty() ||
         (!request.header("Accept-Language").empty() && request.header("Sec-Fetch-Mode").empty());
}

bool is_own(std::string_view host, const std::vector<std::string>& own_names) {
  const std::string_view name = host.substr(0, host.find(':', host.rfind(']') + 1));  // from 0 where there is no ']'
  return std::any_of(own_names.begin(), own_names.end(),
                     [name](const std::string& own) { return same_ignoring_case(name, own); });
}

std::optional<Reply> refusal_of_page(const HttpOptions& options, const Request& request, bool is_unix) {
  const std::string_view host = request.header("Host");
  if (!is_unix && !options.own_names.empty() && may_be_led_here(request) && !is_own(host, options.own_names)) {
    return error_reply(403, "a browser may not ask this server, which needs no token, as " + serving::shown(host) +
                                ": ask it as localhost, or start it with --token-file");
  }
  if (!is_of_foreign_page(request)) return std::nullopt;
  return error_reply(403, "a page of another site may not ask this: ask from a program, or from /docs");
}

}  // namespace

Admission admit(const ServerState& state, RequestReader& reader, bool is_unix) {
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
  admission.objection = refusal_of_page(state.options, request, is_unix);
  if (admission.objection) return admission;
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
