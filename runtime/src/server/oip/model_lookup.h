// The model that a request of the Open Inference Protocol names.
#pragma once

#include <string>
#include <string_view>

#include "server/model/models.h"

namespace recblr::server {

// While there is no model yet, that of any name is loading.
inline constexpr std::string_view kLoading = "the model is not loaded yet: try again later";

struct ModelLookup {
  ServedModelPtr model;   // nullptr where it is not there
  bool is_known = true;   // false: there is none of that name and version
  std::string message{};  // why it is not there
};

// `version` is "" for any.
ModelLookup look_up(const Models& models, std::string_view name, std::string_view version);

}  // namespace recblr::server
