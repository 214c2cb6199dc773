// Reads the JSON of POST /v2/models/{name}/infer without a tree of it, which would take many times its memory.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/oip/json_values.h"
#include "serving/tensors.h"

namespace recblr::server {

struct InferJson {
  struct Input {
    explicit Input(int64_t most_values) : data(most_values) {}
    std::string name, datatype;
    std::vector<int64_t> shape;
    JsonValues data;
    std::optional<int64_t> binary_data_size;
  };
  struct Output {
    std::string name;
    std::optional<bool> binary_data;
  };
  std::string id;
  std::deque<Input> inputs;
  std::vector<Output> outputs;
  serving::Parameters parameters;  // those that mean something
  bool binary_data_output = false;
};

// `most_values` that one input may have. Throws Error (kInvalidArgument) with one line that names the place, the value
// and what to do; for what is there twice, too. Fields that mean nothing here are left
// alone, and so are parameters that the protocol's clients send to any server; others are refused.
InferJson read_infer_json(std::string_view text, int64_t most_values);

}  // namespace recblr::server
