#include "server/oip/model_lookup.h"

#include "serving/text.h"

namespace recblr::server {

using serving::shown;

ModelLookup look_up(const Models& models, std::string_view name, std::string_view version) {
  ServedModelPtr model = models.current();
  if (model == nullptr) return {nullptr, true, std::string(kLoading)};
  if (name != model->name) {
    return {nullptr, false, "model " + shown(name) + " is not served here: use " + shown(model->name)};
  }
  const std::string served = std::to_string(model->version);
  if (!version.empty() && version != served) {
    return {nullptr, false,
            "version " + shown(version) + " of model " + shown(name) + " is not served: use " + shown(served) +
                ", or none"};
  }
  return {std::move(model)};
}

}  // namespace recblr::server
