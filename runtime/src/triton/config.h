// A model's config.pbtxt, which Triton gives as JSON. All of it throws Error(kBadConfig), with the value and what to
// do.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "recblr/recblr.hpp"
#include "serving/limits.h"
#include "serving/tensors.h"
#include "triton/triton_api.h"

namespace recblr::triton {

TRITONSERVER_DataType triton_type(serving::DataType type);

struct Settings {
  EngineOptions engine;
  serving::QuestionLimits limits;
};

// What `parameters` set, all optional: threads, workers, max_batch_rows, max_batch_tokens, max_delay_ms, max_queue,
// timeout (in seconds), max_users, max_history, max_ids, max_k, max_results. Names in capitals are Triton's own.
Settings read_settings(std::string_view config);

// With the model's inputs, or outputs, where it names none of them; none where it names some of both.
std::optional<std::string> completed(std::string_view config, const Bundle& bundle);

// Refuses one that names other tensors than the model has, or that asks Triton to do what the backend does.
void check_config(std::string_view config, const Bundle& bundle);

}  // namespace recblr::triton
