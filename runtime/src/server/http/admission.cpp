#include "server/http/admission.h"

#include <string>

#include "serving/text.h"

namespace recblr::server {
namespace {

constexpr size_t kLongestMethod = 20;  // of those that are shown

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

}  // namespace recblr::server
