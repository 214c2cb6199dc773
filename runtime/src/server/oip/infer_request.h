// Reads the body of POST /v2/models/{name}/infer: JSON, perhaps with the tensors' bytes behind it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/recblr.hpp"
#include "serving/limits.h"
#include "serving/question.h"

namespace recblr::server {

// How the answer is to be written.
struct WantedAnswer {
  struct Output {
    std::string name;
    bool is_binary = false;
  };
  std::string id;               // the client's, for the answer
  std::vector<Output> outputs;  // none: all but state_out
  bool is_binary = false;       // where outputs are not named
};

// `json_size` is the value of the header Inference-Header-Content-Length: how much of the body is JSON; none: all. The
// rest are the tensors with the parameter binary_data_size, one after another. Fails with kInvalidArgument and one line
// that names what is wrong and what to do. Of `limits` it keeps only that the values of a tensor in JSON are not many
// more than what may be asked: the rest is serving::check_limits'.
Expected<void> read_infer_request(std::string_view body, std::optional<std::string_view> json_size,
                                  const serving::QuestionLimits& limits, const Bundle& bundle,
                                  serving::Question* question, WantedAnswer* wanted);

}  // namespace recblr::server
