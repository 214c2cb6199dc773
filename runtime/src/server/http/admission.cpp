#include "server/http/admission.h"

#include <string>

namespace recblr::server {
namespace {

std::string clipped(const std::string& text) {
  constexpr size_t kLongest = 100;
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

}  // namespace

Admission admit(const ServerState& state, RequestReader& reader) {
  Request& request = reader.request();
  std::string allowed;
  Admission admission;
  admission.route = state.router.find(request.method, reader.raw_path(), &request.parameters, &allowed);
  if (admission.route == nullptr) {
    admission.objection =
        error_reply(allowed.empty() ? 404 : 405, "nothing answers " + clipped(reader.method_name()) + " '" +
                                                     clipped(request.path) + "': the page /docs lists what does");
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
