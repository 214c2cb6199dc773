#include "server/oip/infer_request.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "server/oip/infer_json.h"
#include "serving/tensors.h"
#include "serving/text.h"

namespace recblr::server {
namespace {

using serving::grouped;
using serving::shown;

[[noreturn]] void refuse(const std::string& message) { throw Error({Status::kInvalidArgument, message}); }

// How much of the body is JSON.
size_t read_json_size(std::optional<std::string_view> header, size_t body_size) {
  if (!header) return body_size;
  size_t size = 0;
  const auto [end, error] = std::from_chars(header->data(), header->data() + header->size(), size);
  if (error != std::errc() || end != header->data() + header->size() || size == 0 || size > body_size) {
    refuse("Inference-Header-Content-Length is " + shown(*header) +
           ": give the size of the JSON in bytes, at most the " + grouped(static_cast<int64_t>(body_size)) +
           " of the body");
  }
  return size;
}

// The inputs, views of what was read of the JSON and of the bytes behind it, one after another.
std::vector<serving::Tensor> tensors_of(InferJson* json, std::string_view bytes) {
  std::vector<serving::Tensor> tensors;
  tensors.reserve(json->inputs.size());
  for (InferJson::Input& input : json->inputs) {
    serving::Tensor& tensor = tensors.emplace_back();
    tensor.name = input.name;
    tensor.datatype = input.datatype;
    tensor.shape = input.shape;
    if (!input.binary_data_size) {
      tensor.content = input.data.bytes(input.name, input.datatype);
      continue;
    }
    const int64_t size = *input.binary_data_size;
    if (size < 0 || static_cast<uint64_t>(size) > bytes.size()) {
      refuse("inputs[" + std::to_string(tensors.size() - 1) + "].parameters.binary_data_size is " + grouped(size) +
             ", but " + grouped(static_cast<int64_t>(bytes.size())) +
             " bytes are left behind the JSON: give the size of the tensor's");
    }
    tensor.content = bytes.substr(0, static_cast<size_t>(size));
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  if (!bytes.empty()) {
    refuse(grouped(static_cast<int64_t>(bytes.size())) +
           " bytes are left behind the tensors: give each input in bytes its binary_data_size");
  }
  return tensors;
}

}  // namespace

Expected<void> read_infer_request(std::string_view body, std::optional<std::string_view> json_size,
                                  const serving::QuestionLimits& limits, const Bundle& bundle,
                                  serving::Question* question, WantedAnswer* wanted) {
  *wanted = {};
  try {
    const size_t size = read_json_size(json_size, body.size());
    // Of ids, lengths and states.
    const int64_t most_values =
        std::max({limits.max_ids, limits.max_users + 1, limits.max_users * bundle.state_size()});
    InferJson json = read_infer_json(body.substr(0, size), most_values);
    const std::vector<serving::Tensor> tensors = tensors_of(&json, body.substr(size));
    std::vector<std::string_view> outputs;
    for (const InferJson::Output& output : json.outputs) outputs.push_back(output.name);
    Expected<void> read = serving::read_question(tensors, json.parameters, outputs, bundle, question);
    if (!read) return read;
    wanted->id = std::move(json.id);
    wanted->is_binary = json.binary_data_output;
    for (InferJson::Output& output : json.outputs) {
      wanted->outputs.push_back({std::move(output.name), output.binary_data.value_or(wanted->is_binary)});
    }
    return {};
  } catch (const Error& error) {
    return Failure{error.status(), error.what()};
  }
}

}  // namespace recblr::server
